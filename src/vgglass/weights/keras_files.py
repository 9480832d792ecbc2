"""Read and write Keras files: `.weights.h5`, legacy `.h5`, and `.keras`, whose code is never executed."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vgglass.errors import MissingExtraError, WeightsError
from vgglass.weights.contents import (
    DAMAGED,
    MOST_NUMBERS,
    Array,
    Arrays,
    Contents,
    Part,
    as_float,
    damaged,
    natural,
    require_size,
)

MOST_ENTRIES = 20_000  # groups and arrays per file
MOST_CONFIG_BYTES = 16 << 20
FILTERS = (*range(1, 7), 32000)  # built into HDF5, and h5py's LZF
LAYERS = ("layers/", "_layer_checkpoint_dependencies/")  # Keras 3, and 2.13 to 2.15
NORM = ("weight", "bias", "running_mean", "running_var")  # gamma, beta, moving_mean, moving_variance
ORDER = {name: place for place, names in enumerate((("kernel", "gamma"), ("bias", "beta"))) for name in names}
OWN_FEED = "it has a layer {} of its own"
WEIGHTS_ALONE = "in Python, save the weights alone: model.save_weights('vgg.weights.h5')"


def h5py(purpose: str) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError("h5py", "keras", purpose) from error
    return h5py


def key(kind: str, number: int) -> str:
    """Keras 3's path of the number-th layer (from 0) of a kind ('conv2d', 'dense')."""
    return f"layers/{kind}_{number}" if number else f"layers/{kind}"


def read_hdf5(path: Path) -> Contents:
    return _read(path, path)


def read_keras(path: Path) -> Contents:
    """Read the weights of a `.keras` archive; its config is inspected for preprocessing layers and code."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = _read_member(path, archive, "config.json", MOST_CONFIG_BYTES)
            own_feed = _require_no_code(path, config)
            weights = _read_member(path, archive, "model.weights.h5", 4 * MOST_NUMBERS)
    except (zipfile.BadZipFile, NotImplementedError, *DAMAGED) as error:
        if isinstance(error, WeightsError):
            raise
        raise damaged(path, error) from error
    return _read(path, io.BytesIO(weights), own_feed)


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > most:
        rule = f"its {name} claims {size:,} bytes, and no VGG's has more than {most:,}"
        raise WeightsError(path, rule, "write or fetch the file again")
    return archive.read(name)


def _require_no_code(path: Path, config: bytes | str) -> str:
    """A phrase on preprocessing layers in the config; '' if there are none. Raises WeightsError for custom code."""
    try:
        kinds = set(_kinds(json.loads(config)))
    except RecursionError as error:
        raise damaged(path, error) from error
    if code := kinds & {"Lambda", "__lambda__", "TFSMLayer"}:
        rule = f"holds code of its own ({', '.join(sorted(code))}), which is never run"
        raise WeightsError(path, rule, WEIGHTS_ALONE)
    scaled = sorted(kinds & {"Rescaling", "Normalization"})
    return OWN_FEED.format(scaled[0]) if scaled else ""


def _kinds(config: object) -> Iterator[str]:
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config["class_name"]
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _kinds(value)


def _read(path: Path, source: Path | io.BytesIO, own_feed: str = "") -> Contents:
    library = h5py("reading Keras weights")
    try:
        with library.File(source) as file:
            found = dict(_datasets(path, library, file))  # first, because following a link could open another file
            require_size(path, "all that is", sum(dataset.size or 0 for dataset in found.values()))
            layers = file.get("layers")
            names = "\n".join(layers if isinstance(layers, library.Group) else ())
            if "model_config" in file.attrs:
                own_feed = _require_no_code(path, file.attrs["model_config"])
            elif scaled := re.search(r"^(rescaling|normalization)", names, re.MULTILINE):
                own_feed = OWN_FEED.format(scaled[0])
            parts = tuple((_modern_layers if _legacy_root(file) is None else _legacy_layers)(path, file, found))
    except DAMAGED as error:
        if isinstance(error, WeightsError):
            raise
        raise damaged(path, error) from error
    return Contents("keras", parts, channels_last=True, own_feed=own_feed)


def _datasets(path: Path, library: Any, root: Any) -> Iterator[tuple[str, Any]]:
    """Every array of an HDF5 file by path. Raises WeightsError for links and arrays in other files."""
    pending, entries = [("", root)], 0
    while pending:
        place, group = pending.pop()
        for name in group:
            entries += 1
            where = f"{place}{name}"
            if entries > MOST_ENTRIES:
                raise WeightsError(path, f"holds more than {MOST_ENTRIES:,} entries", "name a file of VGG weights")
            if not isinstance(group.get(name, getlink=True), library.HardLink):
                raise WeightsError(f"{where} in {path}", "is a link, which may lead to another file", WEIGHTS_ALONE)
            item = group[name]
            if isinstance(item, library.Group):
                pending.append((f"{where}/", item))
            elif isinstance(item, library.Dataset):
                if item.external or item.is_virtual:
                    rule = "keeps its numbers in another file, which is not opened"
                    raise WeightsError(f"{where} in {path}", rule, WEIGHTS_ALONE)
                _require_own_filters(f"{where} in {path}", item)
                yield where, item


def _require_own_filters(where: str, dataset: Any) -> None:
    """Raises WeightsError for an array whose filter HDF5 would load as a plug-in from the file system."""
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code = properties.get_filter(number)[0]
        if code not in FILTERS:
            rule = f"is packed by filter {code} of a plug-in, which is not loaded"
            raise WeightsError(where, rule, WEIGHTS_ALONE)


def _modern_layers(path: Path, file: Any, found: Mapping[str, Any]) -> Iterator[Part]:
    """Layers of Keras 2.13 and later, `.../vars/0`, in natural order."""
    layers: dict[str, dict[int, Any]] = {}
    for place, dataset in found.items():
        split = re.fullmatch(r"(.+)/vars/(\d+)", place)
        if split and place.startswith(LAYERS) and not split[1].endswith("/seed_generator"):  # of dropout
            layers.setdefault(split[1], {})[int(split[2])] = dataset
    for layer in sorted(layers, key=natural):
        arrays = [_values(path, layer, dataset) for _, dataset in sorted(layers[layer].items())]
        yield _part(layer, arrays, str(file[f"{layer}/vars"].attrs.get("name", "")))


def _legacy_root(file: Any) -> str | None:
    """Path prefix of the layers in a legacy file: a full model's, or '' for weights alone; None if not legacy."""
    if "layer_names" in file.attrs:
        return ""
    whole = "model_weights" in file and "layer_names" in file["model_weights"].attrs
    return "model_weights/" if whole else None


def _legacy_layers(path: Path, file: Any, found: Mapping[str, Any]) -> Iterator[Part]:
    """Layers of a legacy file in the listed order, including those of nested models."""
    root = _legacy_root(file)
    for layer in map(_text, file[root or "/"].attrs["layer_names"]):
        inner: dict[str, list[Array]] = {}
        for name in map(_text, file[f"{root}{layer}"].attrs["weight_names"]):
            arrays = inner.setdefault(name.rpartition("/")[0] or layer, [])
            arrays.append(_values(path, name, found[f"{root}{layer}/{name}"]))
        for name, arrays in inner.items():
            yield _part(name, arrays, name)


def parts_by_key(arrays: Mapping[str, Array]) -> tuple[Part, ...]:
    """Layers of a flat mapping with Keras's keys: 'layers/conv2d_1/vars/0', or 'block1_conv1/kernel'."""
    layers: dict[str, list[tuple[int, str]]] = {}
    for name in arrays:
        layer, _, tensor = name.removesuffix(":0").rpartition("/")
        place = int(tensor) if tensor.isdecimal() else ORDER.get(tensor, 2 + tensor.endswith("variance"))
        layers.setdefault(layer.removesuffix("/vars"), []).append((place, name))
    return tuple(
        _part(layer, [arrays[name] for _, name in sorted(layers[layer])]) for layer in sorted(layers, key=natural)
    )


def _part(layer: str, arrays: list[Array], name: str = "") -> Part:
    """Convert a layer from Keras's layout: kernels (k, k, I, O), fully connected (I, O)."""
    first = arrays[0]
    if first.ndim in (2, 4):
        weight = first.T if first.ndim == 2 else first.transpose(3, 2, 0, 1)
        tensors: Arrays = {"weight": weight} | dict(zip(("bias",), arrays[1:2], strict=False))
    elif len(arrays) == len(NORM):
        tensors = dict(zip(NORM, arrays, strict=True))
    else:
        tensors = {str(number): array for number, array in enumerate(arrays)}
    return Part(layer, tensors, name)


def _values(path: Path, key: str, dataset: Any) -> Array:
    if dataset.shape is None or dataset.dtype.kind not in "fiu":  # references, text, structures
        rule = f"holds {'nothing' if dataset.shape is None else dataset.dtype}, not plain numbers"
        raise WeightsError(f"{key} in {path}", rule, WEIGHTS_ALONE)
    require_size(path, key, dataset.size)
    return as_float(dataset[()])


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def written(state: Mapping[str, Any]) -> memoryview:
    """Serialise arrays to HDF5 in memory."""
    content = io.BytesIO()  # not to the file directly: HDF5 crashes with a segmentation fault on a full disk
    with h5py("writing Keras weights").File(content, "w") as file:
        for name, array in state.items():
            file[name] = np.asarray(array)
    return content.getbuffer()
