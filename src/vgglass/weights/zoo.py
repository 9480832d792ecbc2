"""Pretrained ImageNet weights of torchvision: downloaded once, verified by hash, cached as model files."""

import hashlib
import os
import re
import ssl
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError

from vgglass import modelfile
from vgglass.errors import MissingExtraError, WeightsError
from vgglass.files import cache_folder, locked
from vgglass.weights import PUBLISHED, from_foreign

ATTEMPTS = 3
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20

# Errors of an interrupted transfer; any other OSError comes from the disk.
BROKEN = (ConnectionError, TimeoutError, ssl.SSLError, HTTPException)

Approve = Callable[[str, int], bool]  # address, bytes
Progress = Callable[[int, int], None]  # bytes so far, bytes in total


def names() -> list[str]:
    """Networks with ImageNet weights: 'vgg11', 'vgg11_bn', ..."""
    return list(PUBLISHED["torchvision"])


def cached(name: str) -> Path:
    """The path of a name's model file in the cache; need not exist."""
    return cache_folder() / f"{name}.safetensors"


def pretrained(name: str, approve: Approve, progress: Progress | None = None) -> Path:
    """The model file of a name, downloaded from torchvision's address and converted on first use.

    `approve` is called once, with address and size in bytes, before the download. VGGLASS_WEIGHTS_URL is the base
    address of a mirror with the same file names. Raises WeightsError, MissingExtraError.
    """
    if name not in names():
        raise WeightsError(f"model {name!r}", f"not one of {', '.join(names())}", "choose one, or name a model file")
    model = cached(name)
    if model.exists():
        return model
    address, categories = published(name)
    address = _apply_mirror(address)
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        with locked(model.with_suffix(".lock")):
            if not model.exists():  # another process may have downloaded it meanwhile
                weights = _fetch_verified(address, model, approve, progress or _no_progress)
                modelfile.save(from_foreign(weights, unique(categories)), model)
                weights.unlink()
    except OSError as error:
        raise WeightsError(
            model.parent, f"cannot be written ({error})", "name another folder in VGGLASS_CACHE"
        ) from error
    return model


def published(name: str) -> tuple[str, tuple[str, ...]]:
    """Address and category names of torchvision's first ImageNet weights, from its own registry."""
    try:
        from torchvision.models import get_model_weights
    except ModuleNotFoundError as error:
        raise MissingExtraError("torchvision", "torch", "converting pretrained weights") from error
    weights = get_model_weights(name).IMAGENET1K_V1
    return weights.url, tuple(weights.meta["categories"])


def imagenet_classes() -> tuple[str, ...]:
    """The thousand class names of every pretrained network. Raises MissingExtraError."""
    return unique(published("vgg16")[1])


def unique(categories: tuple[str, ...]) -> tuple[str, ...]:
    """Unique class names: repeated ones get their index appended, 'crane (134)' and 'crane (517)'."""
    times = Counter(categories)
    return tuple(f"{name} ({index})" if times[name] > 1 else name for index, name in enumerate(categories))


def _no_progress(done: int, total: int) -> None:
    pass


def _apply_mirror(address: str) -> str:
    base = os.environ.get("VGGLASS_WEIGHTS_URL")
    if not base:
        return address
    try:
        parts = urllib.parse.urlsplit(base)
        fetchable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # unbalanced brackets, or a port that is not a number
        fetchable = False
    if not fetchable:
        raise WeightsError(
            f"VGGLASS_WEIGHTS_URL={base}", "weights are fetched over http or https", "name such an address"
        )
    return f"{base.rstrip('/')}/{_file_name(address)}"


def _file_name(address: str) -> str:
    return urllib.parse.urlsplit(address).path.rpartition("/")[2]


def _fetch_verified(address: str, model: Path, approve: Approve, progress: Progress) -> Path:
    """The complete and verified foreign file, in the folder of the model file."""
    weights = model.with_name(_file_name(address))
    if not weights.exists():
        part = weights.with_name(f"{weights.name}.part")
        by_hand = (
            f"fetch it by hand and run: vgglass convert {weights.name} {model.name} --classes imagenet, "
            f"then name {model.name} as the model"
        )
        _download(address, part, approve, progress, by_hand)
        _check_digest(part, weights.name, address)
        part.replace(weights)
    return weights


def _download(address: str, part: Path, approve: Approve, progress: Progress, by_hand: str) -> None:
    """Download an address to `part`, resuming a partial file."""
    approved, reason = False, ""
    for _ in range(ATTEMPTS):
        start = part.stat().st_size if part.exists() else 0
        try:
            with _open(address, start) as response:
                start = start if response.status == 206 else 0  # 200: the server does not resume
                if response.length is None:
                    raise WeightsError(address, "the server does not say how large the file is", by_hand)
                total = start + response.length
                approved = approved or approve(address, total - start)
                if not approved:
                    raise WeightsError(
                        address,
                        f"a download of {response.length / 1e6:,.0f} MB was not approved",
                        f"add --download, or {by_hand}",
                    )
                if _receive(response, part, start, total, progress):
                    return
                reason = "the connection was closed early"
        except HTTPError as error:
            if error.code != 416:
                raise WeightsError(address, f"the server answers {error.code} {error.reason}", by_hand) from error
            part.unlink(missing_ok=True)  # the partial file is longer than the file
            reason = "the server refuses to resume"
        except URLError as error:
            raise WeightsError(address, f"cannot be reached ({error.reason})", f"go online, or {by_hand}") from error
        except BROKEN as error:
            reason = repr(error)
    raise WeightsError(
        address,
        f"the transfer broke off {ATTEMPTS} times ({reason})",
        f"try again, it goes on from there, or {by_hand}",
    )


def _open(address: str, start: int) -> HTTPResponse:
    headers = {"User-Agent": "vgglass"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 (http or https: torchvision's or checked)
    response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    return response


def _receive(response: HTTPResponse, part: Path, start: int, total: int, progress: Progress) -> bool:
    """Append the response to the first `start` bytes of `part`; whether the file is complete."""
    done = start
    with part.open("ab") as file:
        file.truncate(start)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
    return done == total


def _check_digest(part: Path, name: str, address: str) -> None:
    """Verify the first hex digits of the SHA-256, which torchvision's file names contain. Raises WeightsError."""
    match = re.search(r"-([0-9a-f]{8,})\.", name)
    assert match, name
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(match[1]):
        part.unlink()
        raise WeightsError(
            address, f"its SHA-256 should begin with {match[1]} and is {digest}", "try again, or try another mirror"
        )
