"""What must hold of a checkpoint's file and content before PyTorch builds anything from it.

A checkpoint may come from anyone. Its table of contents and its plain values are read first, without numbers and
without PyTorch; sizes, types and shapes are checked there, so that what follows takes the memory that the file has.
"""

import dataclasses
import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import BinaryIO, TypeVar, get_args, get_origin

import torch
from tokenizers import Tokenizer
from torch import nn

from poses.statistics import Statistics
from runtime.errors import UserError
from runtime.pickles import ORDERED_DICT, Global, PickleMachine, UnknownGlobal, table_of
from runtime.untrusted import Refusal, escaped, open_regular, open_zip, read_json, read_tensor_entries

Config = TypeVar("Config")
Model = TypeVar("Model", bound=nn.Module)

SAFE_TORCH = (2, 10)  # before, a file could corrupt memory through torch.load(weights_only=True): CVE-2026-24747
MAX_VALUES_BYTES = 2**26  # of a checkpoint without its tensors: text, a tokenizer above all
MAX_WHOLE, MAX_LAYERS = 1_000_000, 1000  # of a configuration
MODEL_CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"  # of a checkpoint that is a folder
_STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_DTYPES = {  # as a .safetensors calls them
    "F32": torch.float32,
    "F64": torch.float64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def require_safe_torch() -> None:
    found = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if found < SAFE_TORCH:
        raise UserError(
            f"torch {torch.__version__} may run code that a checkpoint holds (CVE-2026-24747); install torch "
            f"{'.'.join(map(str, SAFE_TORCH))} or newer, as requirements.txt does"
        )


# ---- the file --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorHeader:
    """What a tensor of a checkpoint is, without its numbers."""

    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    numel: int


def _tensor(machine: "_CheckpointMachine", args: tuple) -> TensorHeader:
    storage, offset, shape, stride = args[:4]
    if type(storage) is not _Storage or type(shape) is not tuple or type(stride) is not tuple:
        raise Refusal("a tensor that is not valid")
    if len(shape) != len(stride) or not all(type(n) is int and 0 <= n < 2**40 for n in (offset, *shape, *stride)):
        raise Refusal("a tensor that is not valid")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if count > storage.numel or (count and last >= storage.numel):
        raise Refusal("a tensor with more numbers than the file has for it")
    return TensorHeader(storage.dtype, shape)


class _CheckpointMachine(PickleMachine):
    """A checkpoint's plain values, with headers in place of tensors. `sizes`: the bytes of each storage by its key."""

    KNOWN = table_of(
        ORDERED_DICT,
        Global("torch._utils._rebuild_tensor_v2", _tensor),
        *(Global(f"torch.{name}Storage") for name in _STORAGES),
    )

    def __init__(self, data: bytes, sizes: Mapping[str, int]) -> None:
        super().__init__(data, self.KNOWN)
        self.sizes = sizes

    def outside(self, reference: object) -> _Storage:
        kind, storage, key, _location, numel = reference
        if kind != "storage" or type(storage) is not Global or type(numel) is not int:
            raise Refusal("it refers to what is no tensor")
        dtype = _STORAGES[storage.name.removeprefix("torch.").removesuffix("Storage")]
        if self.sizes[key] != numel * dtype.itemsize:
            raise Refusal("a tensor that does not fill its part of the file")
        return _Storage(dtype, numel)

    def build(self, target: object, state: object) -> object:
        if type(target) is not dict or type(state) is not dict:
            raise Refusal("it holds more than tensors and plain values")
        return target  # what a state dict says of its versions is for modules that need it, and none here does

    def weigh_other(self, value: object) -> int:
        if type(value) is not TensorHeader:
            raise Refusal("it ends within a tensor")
        return 8


def read_header(path: Path) -> object:
    """The content of a checkpoint with a `TensorHeader` in place of each tensor; nothing is called or built."""
    if path.is_dir():
        weights = path / WEIGHTS_FILE
        return _read_values(path) | {"weights": _read_safely(weights, _read_weights_header)}
    return _read_safely(path, _read_header)


def _read_values(folder: Path) -> dict:
    """What a checkpoint that is a folder holds beside its weights."""
    path = folder / MODEL_CONFIG_FILE
    try:
        content = read_json(path, MAX_VALUES_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, which a checkpoint's folder holds; copy the folder again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint's values; copy the folder again or use another")
    return {name: value for name, value in content.items() if name != "training"}  # of last.pt alone


def _read_safely(path: Path, read: Callable[[BinaryIO], object]) -> object:
    try:
        with open_regular(path) as file:
            return read(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; copy the checkpoint again") from None
    except UnknownGlobal as name:
        raise UserError(
            f"{path}: holds more than tensors and plain values; refused without being executed ({name})"
        ) from None
    except Refusal as refusal:
        reason = str(refusal)
    except UserError:
        raise
    except Exception:  # a damaged archive raises almost anything, of zip, of zlib, of struct
        reason = "truncated?"
    raise UserError(f"{path}: not a readable checkpoint ({reason}); copy it again or use another") from None


def _read_weights_header(file: BinaryIO) -> dict[str, TensorHeader]:
    return {name: TensorHeader(_DTYPES[dtype], shape) for name, (dtype, shape) in read_tensor_entries(file).items()}


def _read_header(file: BinaryIO) -> object:
    with open_zip(file) as archive:
        members = archive.infolist()
        length = file.seek(0, io.SEEK_END)
        if any(info.compress_type != zipfile.ZIP_STORED for info in members):
            raise Refusal("compressed, which PyTorch does not write")
        if sum(info.file_size for info in members) > length or min(info.header_offset for info in members) != 0:
            raise Refusal("truncated?")
        roots = {info.filename.partition("/")[0] for info in members}
        values = archive.NameToInfo.get(f"{min(roots)}/data.pkl")
        if len(roots) != 1 or values is None or values.file_size > MAX_VALUES_BYTES:
            raise Refusal("not one that PyTorch writes")
        prefix = f"{min(roots)}/data/"
        sizes = {info.filename.removeprefix(prefix): info.file_size for info in members}
        with archive.open(values) as member:
            return _CheckpointMachine(member.read(values.file_size), sizes).run()


# ---- its content -----------------------------------------------------------------------------------------------------


def check_header(content: Mapping[str, object], where: object) -> None:
    """The types of a checkpoint's content, as `read_header` gives it, by its keys; a UserError names the first wrong.

    A configuration is checked by `check_config`, which knows its dataclass, a text encoder by `check_text_encoder`.
    """
    kinds = {"config": dict, "fingerprint": str, "parent": str | None, "epoch": int}
    for name, kind in kinds.items():
        if name in content and (not isinstance(content[name], kind) or isinstance(content[name], bool)):
            raise UserError(f"{where}: its '{name}' is a {type(content[name]).__name__}; train it again")
    signers = content.get("signers", [])
    if not isinstance(signers, list) or not all(type(name) is str and name for name in signers):
        raise UserError(f"{where}: its 'signers' are not names; train it again")
    train_clips = content.get("train_clips", [])
    if not isinstance(train_clips, list) or not all(type(digest) is str for digest in train_clips):
        raise UserError(f"{where}: its 'train_clips' are no digests; train it again")
    _check_tensors(content["weights"], "weights", where)
    try:
        Statistics.from_dict(content["statistics"])
    except ValueError as error:
        raise UserError(f"{where}: {error}; train it again") from None
    if "training" in content:
        _check_training(content["training"], content["weights"], where)


def _check_tensors(tensors: object, name: str, where: object) -> None:
    if not isinstance(tensors, dict) or not all(
        type(key) is str and isinstance(tensor, TensorHeader) for key, tensor in tensors.items()
    ):
        raise UserError(f"{where}: its {name} are not tensors by name; train it again")


def _check_training(state: object, weights: Mapping[str, TensorHeader], where: object) -> None:
    """The state of last.pt: raw weights of the same shapes, optimiser, schedule, and numbers that say how far it is."""
    wrong = "training" if not isinstance(state, dict) else _wrong_training(state, weights)
    if wrong is not None:
        raise UserError(f"{where}: its training state is damaged ('{wrong}'); resume from another last.pt")


def _wrong_training(state: Mapping[str, object], weights: Mapping[str, TensorHeader]) -> str | None:
    model, optimizer, schedule = (state.get(name) for name in ("model", "optimizer", "schedule"))
    if not isinstance(model, dict) or _shapes(model) != _shapes(weights):
        return "model"
    if not isinstance(schedule, dict) or not is_count(schedule.get("last_epoch")):
        return "schedule"
    if not isinstance(optimizer, dict):
        return "optimizer"
    entries, groups = optimizer.get("state"), optimizer.get("param_groups")
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        return "optimizer"
    if not isinstance(groups, list) or not all(
        isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups
    ):
        return "optimizer"
    for name in ("epoch", "step", "best_epoch", "by_heart_in"):
        if name in state and not is_count(state[name]):
            return name
    for name in ("best", "best_loss"):
        if name in state and (type(state[name]) not in (int, float) or math.isnan(state[name])):
            return name
    return None


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _shapes(tensors: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(tensor, "shape", (-1,))) for name, tensor in tensors.items()}


def check_config(config_type: type, values: Mapping[str, object]) -> None:
    """The types and bounds of a configuration's values by its dataclass's fields; a ValueError says what is wrong.

    Whole numbers are positive, layers may be 0. Other numbers are finite and not negative, dropouts below 1.
    A tokenizer can be built.
    """
    for field in dataclasses.fields(config_type):
        if field.name not in values:
            continue
        value, kind = values[field.name], field.type
        if isinstance(kind, UnionType):  # of a type and None
            if value is None:
                continue
            kind = get_args(kind)[0]
        if kind is int:
            counts_layers, most = field.name.endswith("layers"), field.metadata.get("most", MAX_WHOLE)
            least, most = (0, MAX_LAYERS) if counts_layers else (1, most)
            sound = type(value) is int and least <= value <= most
            wanted = f"a whole number from {least} to {most:,}"
        elif kind is float:
            below = 1 if "dropout" in field.name else math.inf
            sound = type(value) in (int, float) and 0 <= value < below
            wanted = "a number of at least 0" if below == math.inf else "a number in [0, 1)"
        elif get_origin(kind) is tuple:
            sound = isinstance(value, list | tuple) and len(value) < 1000
            sound = sound and all(type(item) is get_args(kind)[0] and 1 <= item <= MAX_WHOLE for item in value)
            wanted = "whole numbers"
        else:
            sound, wanted = type(value) is kind, f"a {kind.__name__}"
        if not sound:
            raise ValueError(f"{field.name} is {escaped(repr(value))}, where {wanted} is expected")
        if field.name == "tokenizer":
            _check_tokenizer(value)


def build_config(config_type: type[Config], values: dict, where: str) -> Config:
    """A config dataclass from a checkpoint's plain values."""
    try:
        check_config(config_type, values)
        return config_type(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: its configuration does not fit this version ({error}); train it again") from None


def _check_tokenizer(text: str) -> None:
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception:  # the library has no type of its own
        raise ValueError("its tokenizer cannot be built") from None
    numbers = tokenizer.get_vocab().values()
    if not numbers or max(numbers) >= tokenizer.get_vocab_size() or tokenizer.padding or tokenizer.truncation:
        raise ValueError("its tokenizer is not one of this project")


# ---- its weights -----------------------------------------------------------------------------------------------------


def build_fitting(make: Callable[[], Model], weights: Mapping[str, torch.Tensor], where: object) -> Model:
    """The model that `make` builds, if the weights fit it: it is first built without memory, to compare shapes.

    `make` may be called twice, and must not read files.
    """
    with torch.device("meta"):
        wanted = _shapes(make().state_dict())
    found = _shapes(weights)
    wrong = next((name for name in (*wanted, *found) if wanted.get(name) != found.get(name)), None)
    if wrong is not None:
        raise UserError(
            f"{where}: its weights do not fit its configuration ({escaped(wrong)} is "
            f"{_named_shape(found.get(wrong))}, not {_named_shape(wanted.get(wrong))}); train it again"
        )
    return make()


def _named_shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else escaped(list(shape))


def check_numbers(content: Mapping[str, object], fingerprint: str, where: object) -> None:
    """Raises UserError unless every tensor is finite and the weights are those of the checkpoint's own fingerprint.

    fingerprint: of the weights as they were read.
    """
    wrong = not_finite({"weights": content["weights"], "training": content.get("training")})
    if wrong is not None:
        raise UserError(f"{where}: {escaped(wrong)} holds NaN or infinity; use another checkpoint")
    if fingerprint != content["fingerprint"]:
        raise UserError(
            f"{where}: its weights are not those that were saved (fingerprint {fingerprint}, not "
            f"{escaped(content['fingerprint'])}); copy it again or use another"
        )


def require_undamaged(path: Path) -> None:
    """Raises UserError if a part of the archive `path` is not as it was written: PyTorch reads it without a check.

    The fingerprint covers the averaged weights alone. What is no archive is left to `load_checkpoint`.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        damaged = str(error)
    if damaged is not None:
        raise UserError(f"{path}: damaged ({escaped(damaged)}); copy it again, or resume from another last.pt")


def not_finite(content: Mapping[str, object]) -> str | None:
    """The name of a tensor in nested dictionaries that holds NaN or infinity, such as training.model.bias."""
    pending = list(content.items())
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{name}.{key}", item) for key, item in value.items()]
        elif isinstance(value, torch.Tensor) and not is_finite(value):
            return name
    return None


def is_finite(values: torch.Tensor) -> bool:
    """Whether all values are finite. Their sum is finite only if they are, and ten times as quick as each by itself."""
    return not values.is_floating_point() or bool(values.sum().isfinite()) or bool(values.isfinite().all())


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, object], where: object) -> None:
    """Raises UserError unless a saved state, which `check_header` has passed, fits this optimiser's parameters."""
    ours, theirs = optimizer.param_groups, state["param_groups"]
    shapes = [parameter.shape for group in ours for parameter in group["params"]]
    fits = [len(group["params"]) for group in ours] == [len(group["params"]) for group in theirs]
    fits = fits and [number for group in theirs for number in group["params"]] == list(range(len(shapes)))
    fits = fits and all(group.keys() <= saved.keys() for group, saved in zip(ours, theirs, strict=True))
    fits = fits and all(number in range(len(shapes)) for number in state["state"])
    fits = fits and all(
        isinstance(value, torch.Tensor) and value.shape == (() if name == "step" else shapes[number])
        for number, entry in state["state"].items()
        for name, value in entry.items()
    )
    if not fits:
        raise UserError(
            f"{where}: its optimiser is of another model, or of an earlier version; resume with the flags it was "
            "trained with, or train anew"
        )
