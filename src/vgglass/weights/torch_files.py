"""Read state dicts from PyTorch pickles and safetensors files; only tensors are unpickled."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgglass.errors import WeightsError
from vgglass.weights import keras_files
from vgglass.weights.contents import DAMAGED, Arrays, Contents, Part, damaged, natural, require_size

if TYPE_CHECKING:
    from torch import Tensor

# Keys of weights in the checkpoints of common training programs. Averaged weights are the ones they evaluate.
AVERAGED = re.compile(r"(.*_)?(ema|swa|shadow|averaged?)(_.*)?", re.IGNORECASE)
PLAIN = ("state_dict", "model_state_dict", "model", "weights", "net", "network", "module", "params")
COUNTERS = ("num_batches_tracked", "n_averaged")
DEEPEST = 5  # nesting depth of dictionaries, which may be recursive
STATE_DICT = "torch.save(model.state_dict(), 'weights.pth')"


def read_pickle(path: Path) -> Contents:
    import torch

    _require_no_code(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about sparse tensors, which are rejected
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            rule = f"holds a pickled {found[1]}, more than plain tensors, and unpickling the rest could run anything"
            remedy = f"where it was made, save the weights alone with this line of Python: {STATE_DICT}"
            raise WeightsError(path, rule, remedy) from error
        raise damaged(path, error) from error
    except DAMAGED as error:
        raise damaged(path, error) from error
    state, chosen = _unwrap(path, content)
    return Contents("torch", _parts(path, state), chosen=chosen)


def read_safetensors(path: Path) -> Contents:
    import safetensors.torch  # not .numpy, which has no bfloat16

    try:
        state = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise damaged(path, error) from error
    if any("/" in key for key in state):
        arrays = {key: _to_float32(path, key, tensor) for key, tensor in state.items()}
        return Contents("keras", keras_files.parts_by_key(arrays), channels_last=True)
    return Contents("torch", _parts(path, state))


def _require_no_code(path: Path) -> None:
    """Raises WeightsError for archives of TorchScript and torch.export, which contain code, and compressed ones."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {name.partition("/")[2] for name in archive.namelist()}
            compressed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # a legacy pickle, or damaged: torch raises the error
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        remedy = f"where you trust it: model = torch.jit.load('{path.name}'); {STATE_DICT}"
        raise WeightsError(path, "is a TorchScript archive, a program with weights in it", remedy)
    if any(name.startswith(("models/", "serialized_exported_program")) for name in inside):
        remedy = f"where you trust it: model = torch.export.load('{path.name}').module(); {STATE_DICT}"
        raise WeightsError(path, "is an archive of torch.export, a program with weights in it", remedy)
    if compressed:  # a zip bomb
        rule = f"is a compressed archive ({compressed[0]}), which torch.save never writes"
        raise WeightsError(path, rule, f"unpack it, or load it with torch and save it again: {STATE_DICT}")


def _unwrap(path: Path, content: object) -> tuple[Mapping[str, "Tensor"], str]:
    """The state dict nested in a checkpoint, and a phrase on which of several it is."""
    import torch

    chosen = ""
    for _ in range(DEEPEST):
        if not isinstance(content, dict):
            break
        inner = [key for key, value in content.items() if isinstance(value, dict) and _contains_tensors(value)]
        averaged = [key for key in inner if AVERAGED.fullmatch(str(key))]
        plain = [name for name in PLAIN if name in inner]
        if averaged and plain and not chosen:
            chosen = f"the averaged weights under {averaged[0]!r}, not those under {plain[0]!r}"
        elif plain and not averaged and (others := _find_averaged(content, plain[0])):
            chosen = f"the weights under {plain[0]!r}, not the averaged ones under {others!r}"
        if averaged or plain:
            content = content[(averaged + plain)[0]]
            continue
        state = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
        if state or not content:
            return (state, chosen) if chosen else _select_averaged(state)
        break
    kind = type(content).__name__
    raise WeightsError(path, f"holds a {kind} without tensors, not a state dict", f"save the weights: {STATE_DICT}")


def _contains_tensors(values: Mapping[object, object]) -> bool:
    import torch

    return any(isinstance(value, torch.Tensor) for _, inside in _walk_dicts(values) for value in inside.values())


def _find_averaged(content: Mapping[object, object], taken: str) -> str:
    """Key of averaged weights in a checkpoint outside of `taken`: 'callbacks.EMA'; '' if there are none."""
    import torch

    for place, inside in _walk_dicts({key: value for key, value in content.items() if key != taken}):
        listed = [item for value in inside.values() if isinstance(value, list | tuple) for item in value[:1]]
        numbers = _contains_tensors(inside) or any(isinstance(item, torch.Tensor) for item in listed)
        if numbers and AVERAGED.fullmatch(place.rpartition(".")[2]):
            return place
    return ""


def _walk_dicts(content: Mapping[object, object]) -> Iterator[tuple[str, Mapping[object, object]]]:
    """A dictionary and its nested ones, each once, with dotted keys: '', 'callbacks', 'callbacks.EMA', ..."""
    pending: list[tuple[str, Mapping[object, object]]] = [("", content)]
    seen: set[int] = set()
    while pending:
        place, values = pending.pop()
        if id(values) not in seen:
            seen.add(id(values))
            yield place, values
            inner = [(str(key), value) for key, value in values.items() if isinstance(value, dict)]
            pending += [(f"{place}.{key}".lstrip("."), value) for key, value in inner]


def _select_averaged(state: Mapping[str, "Tensor"]) -> tuple[Mapping[str, "Tensor"], str]:
    """Select the averaged weights of a flat state dict that has them under a prefix such as 'ema.' as well."""
    for prefix in dict.fromkeys(key.partition(".")[0] for key in state):
        own = {key.removeprefix(f"{prefix}."): value for key, value in state.items() if key.startswith(f"{prefix}.")}
        others = [key for key in state if not key.startswith(f"{prefix}.")]
        is_duplicated = any(key.endswith(max(own, key=len).removeprefix("module.")) for key in others) if own else False
        if AVERAGED.fullmatch(prefix) and is_duplicated:
            return own, f"the averaged weights under {prefix!r}, not those beside them"
    return state, ""


def _parts(path: Path, state: Mapping[str, "Tensor"]) -> tuple[Part, ...]:
    """One part per module, in natural order."""
    modules: dict[str, Arrays] = {}
    for key, tensor in state.items():
        module, _, name = key.rpartition(".")
        if name not in COUNTERS:
            modules.setdefault(module or name, {})[name] = _to_float32(path, key, tensor)
    return tuple(Part(key, modules[key]) for key in sorted(modules, key=natural))


def _to_float32(path: Path, key: str, tensor: "Tensor") -> Any:
    import torch

    where, remedy = f"{key} in {path}", f"save plain tensors from the CPU: {STATE_DICT}"
    if tensor.is_meta:
        raise WeightsError(where, "is a tensor of the device 'meta', which has a shape and no numbers", remedy)
    if tensor.layout != torch.strided or tensor.is_nested:
        raise WeightsError(where, f"is a sparse or nested tensor ({tensor.layout})", remedy)
    if tensor.is_quantized or tensor.is_complex():
        raise WeightsError(where, f"holds {tensor.dtype}, not plain numbers", remedy)
    require_size(path, key, tensor.numel())
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        rule = f"has the shape {tuple(tensor.shape)} and stores fewer numbers"
        raise WeightsError(where, rule, remedy)
    try:
        return tensor.detach().float().numpy()
    except NotImplementedError as error:  # 4-bit types, two numbers per byte
        raise WeightsError(where, f"holds {tensor.dtype}, which torch can't make float32 of", remedy) from error
