"""Checkpoints that harm, each with the sentence that refuses it; as a script it reads them as `hostile` does its files.

All are changed from an honest autoencoder or predictor, of a few thousand weights.
"""

import dataclasses
import functools
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from hostile import FRAMED, NO_FILES, Reader, Write, call, group, in_turn, named, say, say_to_all, text, whole
from tokenizers import Tokenizer

from checkpoint_checks import MODEL_CONFIG_FILE, WEIGHTS_FILE
from checkpoints import (
    AUTOENCODER,
    FORMAT,
    PREDICTOR,
    export_checkpoint,
    fingerprint,
    load_autoencoder,
    load_text_to_latent,
)
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.latent_predictor import LatentPredictor, PredictorConfig
from models.text_encoder import ScratchTextConfig, ScratchTextEncoder, train_tokenizer
from models.text_to_latent import TextToLatent

PARENT = "a"


@functools.cache
def honest(kind: str) -> dict:
    """The content of a small checkpoint of last.pt's form."""
    torch.manual_seed(0)
    if kind == AUTOENCODER:
        config = AutoencoderConfig(8, 32, 4, 1, 1, 1, 1, 2)
        model, encoder = PoseAutoencoder(config, FRAMED), None
    else:
        config = PredictorConfig(8, 32, 1, 4, cond_dim=32, num_queries=5)
        scratch = ScratchTextConfig(train_tokenizer(["hello world", "hello"]), 32, 1)
        model = TextToLatent(LatentPredictor(config), ScratchTextEncoder(scratch))
        encoder = {"scratch": dataclasses.asdict(scratch)}
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer.step()
    training = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    return {
        "kind": kind,
        "config": dataclasses.asdict(config),
        "weights": weights,
        "statistics": FRAMED.to_dict(),
        "parent": PARENT,
        "text_encoder": encoder,
        "epoch": 1,
        "training": training | {"epoch": 1, "step": 2, "best": 0.5, "best_loss": 0.5, "best_epoch": 1},
    }


def read(path: Path) -> object:
    """The autoencoder or predictor of a file."""
    if path.name == "predictor.pt":
        return load_text_to_latent(path, (PREDICTOR,), PARENT)
    return load_autoencoder(path)


Change = Callable[[dict], None]


def put(*place: str, to: object) -> Change:
    """Replace the value at a place within the content; `to` may be a function of what stands there."""

    def change(content: dict) -> None:
        for name in place[:-1]:
            content = content[name]
        content[place[-1]] = to(content[place[-1]]) if callable(to) else to

    return change


def without(name: str) -> Change:
    return lambda content: content.pop(name)


def without_training(change: Change) -> Change:
    def both(content: dict) -> None:
        del content["training"]
        change(content)

    return both


def first_weight(change: Callable[[torch.Tensor], object]) -> Change:
    def at(content: dict) -> None:
        name = "decoder.embed.weight"
        content["weights"][name] = change(content["weights"][name])

    return at


def with_tokenizer(**changes: object) -> Change:
    def change(content: dict) -> None:
        scratch = content["text_encoder"]["scratch"]
        scratch["tokenizer"] = json.dumps(json.loads(scratch["tokenizer"]) | changes)

    return change


def padded(content: dict) -> None:
    scratch = content["text_encoder"]["scratch"]
    tokenizer = Tokenizer.from_str(scratch["tokenizer"])
    tokenizer.enable_padding(length=10**9)
    scratch["tokenizer"] = tokenizer.to_str()


NOT_THIS_VERSION, NOT_FIT = "its configuration does not fit this version", "its weights do not fit its configuration"
NO_ENCODER, DAMAGED = "does not say what its text encoder is", "its training state is damaged"
EMPTY_BPE = {"type": "BPE", "vocab": {"a": 4294967295}, "merges": []}
AUTOENCODERS: dict[str, tuple[Change, str]] = {
    "no heads": (put("config", "num_heads", to=0), f"{NOT_THIS_VERSION} (num_heads is 0, where a whole number"),
    "half a head": (put("config", "num_heads", to=4.0), f"{NOT_THIS_VERSION} (num_heads is 4.0, where"),
    "a head that is true": (put("config", "num_heads", to=True), NOT_THIS_VERSION),
    "a negative width": (put("config", "hidden_dim", to=-32), NOT_THIS_VERSION),
    "another width": (put("config", "hidden_dim", to=64), f"{NOT_FIT} (encoder.embed.weight is [32, 301], not [64"),
    "a width of 8000": (put("config", "hidden_dim", to=8000), NOT_FIT),
    "a width of a million": (put("config", "hidden_dim", to=10**6), NOT_FIT),
    "a thousand million layers": (put("config", "encoder_layers", to=10**9), NOT_THIS_VERSION),
    "two hundred layers": (put("config", "encoder_layers", to=200), NOT_FIT),
    "a layer more": (put("config", "fine_layers", to=2), NOT_FIT),
    "a dropout of all": (put("config", "dropout", to=1.0), NOT_THIS_VERSION),
    "a dropout of NaN": (put("config", "dropout", to=float("nan")), NOT_THIS_VERSION),
    "a dropout in words": (put("config", "dropout", to="0.1"), NOT_THIS_VERSION),
    "an unknown stride": (put("config", "temporal_stride", to=3), NOT_THIS_VERSION),
    "an unknown setting": (put("config", "depth", to=3), NOT_THIS_VERSION),
    "a list for a configuration": (put("config", to=[1]), "its 'config' is a list"),
    "no configuration": (put("config", to=None), "its 'config' is a NoneType"),
    "no statistics": (put("statistics", to=None), "its statistics are incomplete"),
    "statistics in words": (put("statistics", to="usual"), "its statistics are incomplete"),
    "a negative spread": (put("statistics", "std", to=[-1.0] * 214), "'std' holds a spread that is not positive"),
    "no spread": (put("statistics", "hand_std", to=[0.0] * 84), "'hand_std' holds a spread that is not positive"),
    "no body frame": (lambda content: content["statistics"].pop("framed"), "the statistics know no body frame"),
    "half a body frame": (put("statistics", "framed", to={"mean": [0.0] * 214}), "of the body frame are incomplete"),
    "a body frame of another size": (
        put("statistics", "framed", "place_std", to=[1.0]),
        "'framed place_std' is not 3 finite numbers",
    ),
    "a mean of NaN": (put("statistics", "mean", to=[float("nan")] * 214), "'mean' is not 214 finite numbers"),
    "a mean in words": (put("statistics", "mean", to=["1"] * 214), "'mean' is not 214 finite numbers"),
    "clips in words": (put("train_clips", to="all"), "its 'train_clips' are no digests"),
    "a rate in words": (put("statistics", "info", "fps", to="fast"), "state a frame rate that no clip has"),
    "a negative rate": (put("statistics", "info", "fps", to=-25.0), "state a frame rate that no clip has"),
    "a rate of NaN": (put("statistics", "info", "fps", to=float("nan")), "state a frame rate that no clip has"),
    "a short mean": (put("statistics", "mean", to=[1.0]), "'mean' is not 214 finite numbers"),
    "weights of NaN": (first_weight(lambda weight: weight * torch.nan), "weights.decoder.embed.weight holds NaN"),
    "infinite weights": (first_weight(lambda weight: weight / 0), "holds NaN or infinity"),
    "other weights": (lambda content: content.update(fingerprint="0" * 12), "its weights are not those that were"),
    "a list of weights": (put("weights", to=list), "its weights are not tensors by name"),
    "no weights": (put("weights", to=None), "its weights are not tensors by name"),
    "weights that are lists": (first_weight(torch.Tensor.tolist), "its weights are not tensors by name"),
    "weights of another shape": (without_training(first_weight(lambda weight: weight[:5].clone())), NOT_FIT),
    "a weight less": (without_training(lambda content: content["weights"].pop("decoder.embed.bias")), NOT_FIT),
    "a weight too many": (without_training(lambda content: content["weights"].update(more=torch.ones(1))), NOT_FIT),
    "a weight that repeats itself": (
        first_weight(lambda weight: torch.ones(1).expand(10**6)),
        "a tensor with more numbers than the file has",
    ),
    "a parent in numbers": (put("parent", to=5), "its 'parent' is a int"),
    "an epoch in words": (put("epoch", to="last"), "its 'epoch' is a str"),
    "a training state in a list": (put("training", to=[1]), f"{DAMAGED} ('training')"),
    "raw weights of another shape": (lambda content: content["training"]["model"].popitem(), f"{DAMAGED} ('model')"),
    "raw weights of NaN": (
        lambda content: content["training"]["model"]["decoder.embed.bias"].fill_(torch.nan),
        "training.model.decoder",
    ),
    "no optimiser": (put("training", "optimizer", to=None), f"{DAMAGED} ('optimizer')"),
    "an optimiser without groups": (put("training", "optimizer", to={"state": {}}), f"{DAMAGED} ('optimizer')"),
    "no schedule": (put("training", "schedule", to={}), f"{DAMAGED} ('schedule')"),
    "a negative epoch": (put("training", "epoch", to=-1), f"{DAMAGED} ('epoch')"),
    "a best loss of NaN": (put("training", "best", to=float("nan")), f"{DAMAGED} ('best')"),
}
PREDICTORS: dict[str, tuple[Change, str]] = {
    "no text encoder": (without("text_encoder"), NO_ENCODER),
    "None for a text encoder": (put("text_encoder", to=None), NO_ENCODER),
    "an empty text encoder": (put("text_encoder", to={}), NO_ENCODER),
    "a text encoder in a list": (put("text_encoder", to=["bert"]), NO_ENCODER),
    "a text encoder that is a number": (put("text_encoder", to={"name": 5}), NO_ENCODER),
    "a text encoder without a name": (put("text_encoder", to={"name": ""}), NO_ENCODER),
    "a text encoder's name on two lines": (put("text_encoder", to={"name": "a\nb"}), NO_ENCODER),
    "no tokenizer": (put("text_encoder", "scratch", to={}), NOT_THIS_VERSION),
    "a tokenizer that is none": (put("text_encoder", "scratch", "tokenizer", to="x"), "its tokenizer cannot be built"),
    "a tokenizer that is a number": (put("text_encoder", "scratch", "tokenizer", to=1), NOT_THIS_VERSION),
    "a tokenizer of another model": (with_tokenizer(model={"type": "none"}), "its tokenizer cannot be built"),
    "a tokenizer of large numbers": (with_tokenizer(model=EMPTY_BPE, added_tokens=[]), "its tokenizer is not one of"),
    "a tokenizer that pads without end": (padded, "its tokenizer is not one of this project"),
    "a text encoder a million wide": (put("text_encoder", "scratch", "dim", to=10**6), NOT_FIT),
    "a text encoder without heads": (put("text_encoder", "scratch", "num_heads", to=0), NOT_THIS_VERSION),
    "a million queries": (put("config", "num_queries", to=10**6), NOT_FIT),
    "another parent": (put("parent", to="b"), "trained on the autoencoder b"),
}


def save(path: Path, content: dict) -> None:
    """As `save_checkpoint` does, but quickly, and whatever the weights are."""
    weights = content["weights"]
    sound = isinstance(weights, dict) and all(torch.is_tensor(value) for value in weights.values())
    torch.save({"format": FORMAT, "fingerprint": fingerprint(weights) if sound else "0" * 12, **content}, path)


def written(kind: str, change: Change) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = pickle.loads(pickle.dumps(honest(kind)))  # a deep copy
        change(content)
        save(path, content)

    return write


# ---- files put together by hand --------------------------------------------------------------------------------------


def archive(values: bytes, method: int = zipfile.ZIP_STORED, **members: bytes) -> Callable[[Path], None]:
    """A checkpoint's file of these values as a pickle, and of storages by their keys."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as file:
            file.writestr("archive/data.pkl", values)
            for name, content in members.items():
                file.writestr(f"archive/data/{name}", content)

    return write


def storage(key: str, numel: int, kind: str = "torch.FloatStorage") -> bytes:
    return group(text("storage"), named(kind), text(key), text("cpu"), whole(numel)) + b"Q"


def tensor(store: bytes, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    sizes = (group(*map(whole, numbers)) for numbers in (shape, stride))
    hooks = named("collections.OrderedDict") + b")R"
    return call("torch._utils._rebuild_tensor_v2", store, whole(offset), *sizes, b"\x89", hooks)


def weights(*tensors: bytes) -> bytes:
    return b"\x80\x02}" + text("weights") + b"}" + b"".join(text("w") + each + b"s" for each in tensors) + b"s."


def flipped(path: Path) -> None:
    """One bit of one weight is another, as on a failing disk."""
    save(path, honest(AUTOENCODER))
    content = bytearray(path.read_bytes())
    found = content.index(honest(AUTOENCODER)["weights"]["decoder.embed.weight"].numpy().tobytes())
    content[found + 2] ^= 1
    path.write_bytes(content)


def old_form(path: Path) -> None:
    torch.save(honest(AUTOENCODER), path, _use_new_zipfile_serialization=False)


def packed(path: Path) -> None:
    archive(weights(tensor(storage("0", 2**22), 0, (2**22,), (1,))), zipfile.ZIP_DEFLATED, **{"0": bytes(2**24)})(path)


def half(path: Path) -> None:
    save(path, honest(AUTOENCODER))
    path.write_bytes(path.read_bytes()[:5000])


BEYOND, NONE = "a tensor with more numbers than the file has for it", "a tensor that is not valid"
NOT_READABLE, MORE = "not a readable checkpoint", "holds more than tensors and plain values; refused without being"
ONE = {"0": bytes(8)}
FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "an empty file": (Path.touch, f"{NOT_READABLE} (it is empty)"),
    "half a file": (half, f"{NOT_READABLE} (truncated?)"),
    "a text": (lambda path: path.write_bytes(b"hello" * 100), NOT_READABLE),
    "a flipped bit": (flipped, "its weights are not those that were saved"),
    "the old form": (old_form, f"{NOT_READABLE} (it is a pickle)"),
    "packed": (packed, "compressed, which PyTorch does not write"),
    "other values": (archive(b"}."), "not a checkpoint of this project"),
    "no values": (archive(b""), NOT_READABLE),
    "a memo of a hundred million": (archive(b"Nr\xff\xff\xff\x070N."), "not a checkpoint of this project"),
    "hex of hex": (archive(in_turn("x" * 1000, "latin1", *["hex"] * 20) + b"."), MORE),
    "a bytearray of ten thousand million": (archive(call("__builtin__.bytearray", whole(10**10)) + b"."), MORE),
    "a function": (archive(call("posix.system", text("true")) + b"."), MORE),
    "a million sets": (archive(named("__builtin__.set") + b"q\x00" + b"h\x00)R" * 10**6 + b"."), MORE),
    "more numbers than it has": (archive(weights(tensor(storage("0", 10**9), 0, (2,), (1,))), **ONE), "does not fill"),
    "fewer numbers than it has": (archive(weights(tensor(storage("0", 1), 0, (1,), (1,))), **ONE), "does not fill"),
    "numbers that are elsewhere": (archive(weights(tensor(storage("1", 2), 0, (2,), (1,))), **ONE), NOT_READABLE),
    "a shape beyond its numbers": (archive(weights(tensor(storage("0", 2), 0, (3,), (1,))), **ONE), BEYOND),
    "steps beyond its numbers": (archive(weights(tensor(storage("0", 2), 0, (2,), (2,))), **ONE), BEYOND),
    "a start beyond its numbers": (archive(weights(tensor(storage("0", 2), 1, (2,), (1,))), **ONE), BEYOND),
    "steps of none": (archive(weights(tensor(storage("0", 2), 0, (10**9,), (0,))), **ONE), BEYOND),
    "steps back": (archive(weights(tensor(storage("0", 2), 1, (2,), (-1,))), **ONE), NONE),
    "a tensor without numbers": (archive(weights(tensor(whole(1), 0, (2,), (1,))), **ONE), NONE),
    "numbers of an unknown kind": (
        archive(weights(tensor(storage("0", 2, "torch.ComplexFloatStorage"), 0, (2,), (1,))), **ONE),
        MORE,
    ),
    "tensors of a kind of their own": (
        archive(weights(call("torch._utils._rebuild_sparse_tensor", b"N")), **ONE),
        MORE,
    ),
    "a state of a tensor": (
        archive(weights(tensor(storage("0", 2), 0, (2,), (1,)) + b"}b"), **ONE),
        "more than tensors and plain values",
    ),
    "a checkpoint of nothing": (
        archive(
            b"}"
            + b"".join(
                text(name) + b"Ns"
                for name in ("format", "kind", "config", "weights", "statistics", "parent", "fingerprint")
            )
            + b"."
        ),
        "format None, but this version reads format 1",
    ),
}

# ---- folders ---------------------------------------------------------------------------------------------------------


def folder(change: Change = lambda content: None, tensors: bytes | None = None, **config: object) -> Write:
    """An exported autoencoder with its content changed; `tensors`: model.safetensors, `config`: keys of config.json."""

    def write(path: Path) -> None:
        content = pickle.loads(pickle.dumps(honest(AUTOENCODER)))
        del content["training"]
        change(content)
        content = {"format": FORMAT, "fingerprint": fingerprint(content["weights"])} | content
        export_checkpoint(path, content, "")
        values = json.loads((path / MODEL_CONFIG_FILE).read_text())
        (path / MODEL_CONFIG_FILE).write_text(json.dumps(values | config))
        if tensors is not None:
            (path / WEIGHTS_FILE).write_bytes(tensors)

    return write


def with_file(name: str, put_it: Callable[[Path], object]) -> Write:
    """An exported autoencoder with one of its files replaced."""

    def write(path: Path) -> None:
        folder()(path)
        (path / name).unlink()
        put_it(path / name)

    return write


def tensor_file(table: object, numbers: bytes = b"") -> bytes:
    """A .safetensors of this table of contents, as JSON or as its bytes, and these numbers."""
    content = table if isinstance(table, bytes) else json.dumps(table).encode()
    return len(content).to_bytes(8, "little") + content + numbers


def entry(first: object, end: object, shape: object = (2,), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, end]}


NO_TABLE, DOES_NOT_FILL = "its table of contents", "a tensor that does not fill its part of the file"
TENSOR_FILES: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", f"{NOT_READABLE} (it is empty)"),
    "a pickle": (b"\x80\x04" + bytes(99), f"{NOT_READABLE} (it is a pickle)"),
    "a zip archive": (b"PK\x03\x04" + bytes(b"\xff" * 99), "it is a zip archive"),
    "a table longer than the file": ((2**62).to_bytes(8, "little") + b"{}", f"{NOT_READABLE} (truncated?)"),
    "a table of five megabytes": (tensor_file(b" " * 5_000_000 + b"{}"), "its table of contents is too long"),
    "a table without end": (tensor_file(b"[" * 100_000), NOT_READABLE),
    "a million lists": (tensor_file(b"[" + b"[]," * 1_000_000 + b"[]]"), NOT_READABLE),
    "a list for a table": (tensor_file([]), "its table of contents is not valid"),
    "a list for a tensor": (tensor_file({"w": []}), NONE),
    "a tensor of nothing": (tensor_file({"w": {}}), NONE),
    "a tensor of a thousand million": (tensor_file({"w": entry(0, 4 * 10**9, (10**9,))}, bytes(8)), NOT_READABLE),
    "a tensor larger than its part": (tensor_file({"w": entry(0, 8, (10**9,))}, bytes(8)), DOES_NOT_FILL),
    "a shape that overflows": (tensor_file({"w": entry(0, 8, (2**39, 2**39, 2**39))}, bytes(8)), DOES_NOT_FILL),
    "a shape of forty": (tensor_file({"w": entry(0, 8, (1,) * 40)}, bytes(8)), NONE),
    "a negative shape": (tensor_file({"w": entry(0, 8, (-1, -2))}, bytes(8)), NONE),
    "a shape of fractions": (tensor_file({"w": entry(0, 8, (2.0,))}, bytes(8)), NONE),
    "a negative start": (tensor_file({"w": entry(-8, 0)}, bytes(8)), NONE),
    "an unknown kind of numbers": (tensor_file({"w": entry(0, 8, dtype="C64")}, bytes(8)), NONE),
    "a list for a kind of numbers": (tensor_file({"w": entry(0, 8, dtype=["F32"])}, bytes(8)), NONE),
    "two tensors in one place": (tensor_file({"v": entry(0, 8), "w": entry(0, 8)}, bytes(8)), NOT_READABLE),
    "tensors that overlap": (tensor_file({"v": entry(0, 8), "w": entry(4, 12)}, bytes(12)), NOT_READABLE),
    "a gap between tensors": (tensor_file({"v": entry(0, 8), "w": entry(12, 20)}, bytes(20)), NOT_READABLE),
    "more than its tensors": (tensor_file({"w": entry(0, 8)}, bytes(12)), NOT_READABLE),
    "fewer than its tensors": (tensor_file({"w": entry(0, 8)}, bytes(4)), NOT_READABLE),
    "no tensor": (tensor_file({}), "its weights are not those that were saved"),
    "another model's": (tensor_file({"w": entry(0, 8)}, bytes(8)), "its weights are not those that were saved"),
}
IN_FOLDERS = (
    *("no heads", "a head that is true", "a width of a million", "two hundred layers", "an unknown setting"),
    *("a dropout in words", "no configuration", "no statistics", "a negative spread"),
)
FOLDERS: dict[str, tuple[Write, str]] = {
    **{name: (folder(tensors=content), sentence) for name, (content, sentence) in TENSOR_FILES.items()},
    **{f"{name} in a folder": (folder(AUTOENCODERS[name][0]), AUTOENCODERS[name][1]) for name in IN_FOLDERS},
    "an empty folder": (Path.mkdir, "no such checkpoint, as the folder has no model.safetensors"),
    "a pipe for its weights": (with_file(WEIGHTS_FILE, os.mkfifo), "a named pipe, but a file is needed"),
    "a device for its weights": (with_file(WEIGHTS_FILE, lambda path: path.symlink_to("/dev/zero")), "a device, but a"),
    "a folder for its weights": (with_file(WEIGHTS_FILE, Path.mkdir), "a folder, but a file is needed"),
    "a pipe for its values": (with_file(MODEL_CONFIG_FILE, os.mkfifo), "a named pipe, but a file is needed"),
    "values of lists without end": (
        with_file(MODEL_CONFIG_FILE, lambda path: path.write_text("[" * 10**5)),
        "not readable",
    ),
    "values of holes": (
        with_file(MODEL_CONFIG_FILE, lambda path: (path.touch(), os.truncate(path, 2**36))),
        "where at most",
    ),
    "values of a million lists": (folder(statistics=[[]] * 10**6), "not readable JSON (too many lists)"),
    "a training state": (folder(training={"model": 1}, kind="flow"), "a checkpoint of kind 'flow'"),
    "a number of 5000 digits": (
        with_file(MODEL_CONFIG_FILE, lambda path: path.write_text('{"format": 1' + "0" * 5000 + "}")),
        "not readable JSON",
    ),
}


READERS = {
    "folder": Reader(load_autoencoder, "exported", FOLDERS),
    "autoencoder": Reader(
        read,
        "best_model.pt",
        {
            **{name: (written(AUTOENCODER, change), sentence) for name, (change, sentence) in AUTOENCODERS.items()},
            **FILES,
            **{
                name: (write, "no such checkpoint")
                for name, (write, _) in NO_FILES.items()
                if name != "a file of holes"
            },
            "a file of holes": (NO_FILES["a file of holes"][0], NOT_READABLE),
        },
    ),
    "predictor": Reader(
        read,
        "predictor.pt",
        {name: (written(PREDICTOR, change), sentence) for name, (change, sentence) in PREDICTORS.items()},
    ),
}


def main(folder: Path) -> None:
    said: dict[str, object] = {}
    for kind in (AUTOENCODER, PREDICTOR):  # what PyTorch sets up at the first model counts for no file
        path = folder / f"{kind}.pt"
        save(path, honest(kind))
        said[f"honest {kind}"] = say(Reader(read, path.name, {}), path)
    print(json.dumps(said | say_to_all(READERS, folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
