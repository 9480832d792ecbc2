"""ImageNet weights by name: torchvision's, fetched once, checked against their hash, kept as model files."""

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

# How a transfer breaks off; any other OSError is the disk's.
BROKEN = (ConnectionError, TimeoutError, ssl.SSLError, HTTPException)

Approve = Callable[[str, int], bool]  # address, bytes
Progress = Callable[[int, int], None]  # bytes so far, bytes in all


def names() -> list[str]:
    """Networks with ImageNet weights: 'vgg11', 'vgg11_bn', ..."""
    return list(PUBLISHED["torchvision"])


def cached(name: str) -> Path:
    """Where the model file of a name is, or will be."""
    return cache_folder() / f"{name}.safetensors"


def pretrained(name: str, approve: Approve, progress: Progress | None = None) -> Path:
    """The model file of a name, fetched from torchvision's address and converted on first use.

    `approve` is asked once, with the address and the bytes to come, before anything is fetched. VGGLASS_WEIGHTS_URL
    names a mirror: a base address with the same files. Raises WeightsError, MissingExtraError.
    """
    if name not in names():
        raise WeightsError(f"model {name!r}", f"not one of {', '.join(names())}", "choose one, or name a model file")
    model = cached(name)
    if model.exists():
        return model
    address, categories = published(name)
    address = _mirrored(address)
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        with locked(model.with_suffix(".lock")):
            if not model.exists():  # another process may have fetched it in the meantime
                weights = _fetched(address, model, approve, progress or _silent)
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
    """Class names that differ: those that occur more than once get their index, 'crane (134)' and 'crane (517)'."""
    times = Counter(categories)
    return tuple(f"{name} ({index})" if times[name] > 1 else name for index, name in enumerate(categories))


def _silent(done: int, total: int) -> None:
    pass


def _mirrored(address: str) -> str:
    base = os.environ.get("VGGLASS_WEIGHTS_URL")
    if not base:
        return address
    try:
        parts = urllib.parse.urlsplit(base)
        fetchable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that don't close, a port that is no number
        fetchable = False
    if not fetchable:
        raise WeightsError(
            f"VGGLASS_WEIGHTS_URL={base}", "weights are fetched over http or https", "name such an address"
        )
    return f"{base.rstrip('/')}/{_file_name(address)}"


def _file_name(address: str) -> str:
    return urllib.parse.urlsplit(address).path.rpartition("/")[2]


def _fetched(address: str, model: Path, approve: Approve, progress: Progress) -> Path:
    """The foreign file, whole and checked, beside the model file."""
    weights = model.with_name(_file_name(address))
    if not weights.exists():
        part = weights.with_name(f"{weights.name}.part")
        by_hand = (
            f"fetch it by hand and run: vgglass convert {weights.name} {model.name} --classes imagenet, "
            f"then name {model.name} as the model"
        )
        _fetch(address, part, approve, progress, by_hand)
        _check_digest(part, weights.name, address)
        part.replace(weights)
    return weights


def _fetch(address: str, part: Path, approve: Approve, progress: Progress, by_hand: str) -> None:
    """Bring the whole of an address into `part`, going on from what is there."""
    approved, reason = False, ""
    for _ in range(ATTEMPTS):
        start = part.stat().st_size if part.exists() else 0
        try:
            with _open(address, start) as response:
                start = start if response.status == 206 else 0  # 200: the server sends it all again
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
            part.unlink(missing_ok=True)  # what is there goes past the end: not this file
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
    """Append the answer to `part`, whose first `start` bytes are kept; whether that made it whole."""
    done = start
    with part.open("ab") as file:
        file.truncate(start)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
    return done == total


def _check_digest(part: Path, name: str, address: str) -> None:
    """torchvision's file names carry the first eight hex digits of their SHA-256."""
    match = re.search(r"-([0-9a-f]{8,})\.", name)
    assert match, name
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(match[1]):
        part.unlink()
        raise WeightsError(
            address, f"its SHA-256 should begin with {match[1]} and is {digest}", "try again, or try another mirror"
        )
