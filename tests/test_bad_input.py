"""What a user can do wrong: one message that names the file, exit code 2, no traceback, nothing half-written."""

import os
import pickle
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from made_up import write_clip, write_data
from transformers import BertTokenizer, T5Config, T5Model

import checkpoints
from poses import layout
from poses.statistics import Statistics
from runtime import errors

KEYPOINTS = (20, layout.NUM_KEYPOINTS, 2)


class Trap:
    """What a hostile pickle does when it is loaded: it runs a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture):
    """Run a command that must be refused; returns what it said."""

    def run(name: str, more: str = "", **paths: Path) -> str:
        capsys.readouterr()
        said = commands.refusal(capsys, lambda: commands.call(name, more, **paths)).strip()
        assert "Traceback" not in said
        return said

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", {"train": [20, 9, 12], "dev": [8], "test": [7]})


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ---- a data set's files ----------------------------------------------------------------------------------------------


def clip(**changes):
    return lambda data: write_clip(data, "train", "train0", 20, np.random.default_rng(0), **changes)


def text(line: str):
    return lambda data: (data / "train.txt").write_text((data / "train.txt").read_text() + line, encoding="utf-8")


def cut(name: str, size: int = 100):
    return lambda data: os.truncate(data / "train" / name, size)


POSE, MARKERS = "train/poses/train0.npz", "train/nmms/train0.pkl"
BAD_DATA = {
    "no folder": (shutil.rmtree, "data: no such folder; pass"),
    "no split": (lambda data: shutil.rmtree(data / "dev"), "dev/poses: no such folder; a data set holds"),
    "an empty split": (lambda data: (data / "dev/poses/dev0.npz").unlink(), "the dev split is empty"),
    "no key": (clip(keypoints=None), f"{POSE}: has no 'keypoints'"),
    "a wrong shape": (clip(keypoints=np.zeros((20, 74, 2))), "[20,74,2]; expected float [T,75,2]"),
    "text for numbers": (clip(keypoints=np.full(KEYPOINTS, "x")), f"{POSE}: 'keypoints' is"),
    "objects for numbers": (clip(keypoints=np.full(KEYPOINTS, None)), f"{POSE}: not a readable .npz of arrays"),
    "a visibility of another length": (clip(visibility=np.ones((19, 75))), "'visibility' is [19,75]; expected [20,75]"),
    "NaN everywhere": (clip(keypoints=np.full(KEYPOINTS, np.nan)), f"{POSE}: no keypoint is seen in any frame"),
    "zeros everywhere": (clip(visibility=np.zeros((20, 75))), f"{POSE}: no keypoint is seen in any frame"),
    "zero frames": (clip(keypoints=np.zeros((0, 75, 2))), f"{POSE}: zero frames"),
    "no markers' key": (clip(eye_gaze=None), f"{MARKERS}: has no 'eye_gaze'"),
    "markers of a wrong shape": (clip(head_pose=np.zeros((20, 4))), "'head_pose' is [20,4]; expected [T,3]"),
    "markers of two lengths": (clip(head_pose=np.zeros((9, 3))), f"{MARKERS}: its features differ in length"),
    "markers that are no numbers": (clip(head_pose="straight"), f"{MARKERS}: 'head_pose' is not numbers"),
    "markers of another clip": (clip(keypoints=np.full((50, 75, 2), 0.5)), "they are not one clip"),
    "no markers": (lambda data: (data / MARKERS).unlink(), f"{MARKERS}: no such file; every pose file needs"),
    "a truncated pose file": (cut("poses/train0.npz"), f"{POSE}: not a readable .npz"),
    "truncated markers": (cut("nmms/train0.pkl"), f"{MARKERS}: not a readable pickle"),
    "an empty file": (cut("poses/train0.npz", 0), f"{POSE}: not a readable .npz"),
    "a duplicate ID": (text("train1|again\n"), "train.txt:4: the ID 'train1' stands there twice"),
    "text for an unknown clip": (text("nobody|hello\n"), "train/poses; remove their lines"),
    "a line that is no line": (text("hello\n"), "train.txt:4: no '|'; each line is ID|text"),
    "a clip without text": (
        lambda data: (data / "train.txt").write_text("train0|a\n"),
        "such as 'train1'; a clip without a text has the line train1|",
    ),
    "another encoding": (lambda data: (data / "train.txt").write_bytes(b"train0|\xe9"), "train.txt: not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_named_and_nothing_is_written(case: str, data: Path, refused):
    break_it, message = BAD_DATA[case]
    break_it(data)
    before = listing(data) if data.exists() else None
    said = refused("data_preparation", D=data)
    assert said.startswith("error: ")
    assert message in said
    if before is not None:
        left = listing(data)
        assert [name for name in left if not name.startswith("cache")] == before
        assert not any(Path(name).name.startswith(".") for name in left)  # where a pack is begun


def test_a_pickle_that_holds_more_than_arrays_is_never_executed(data: Path, refused, tmp_path: Path):
    proof = tmp_path / "executed"
    (data / MARKERS).write_bytes(pickle.dumps({"facial_aus": Trap(proof)}))
    said = refused("data_preparation", D=data)
    assert f"{MARKERS}: it holds posix.system, which is more than arrays; refused" in said
    assert not proof.exists()


def test_all_damaged_clips_are_named_at_once_and_skip_bad_goes_on_without_them(data: Path, refused, capsys):
    clip(keypoints=None)(data)
    cut("nmms/train2.pkl")(data)
    said = refused("data_preparation", D=data)
    assert "2 of 3 clips of train are damaged" in said
    for named in ("train0.npz: has no 'keypoints'", "train2.pkl: not a readable pickle"):
        assert named in said
    commands.call("data_preparation", "--skip_bad", D=data)
    out = capsys.readouterr().out
    assert "left out 2 damaged clips of train" in out
    assert "train0.npz" in out
    assert "train2.pkl" in out
    assert Statistics.load(data / "normalization_stats.npz").info["clips"] == 1
    assert "damaged" in refused("autoencoder", D=data, O=data / "run")  # the next script is not told by itself
    commands.call("data_preparation", "--skip_bad", D=data)  # from the cache, and still no secret
    assert "left out 2 damaged clips of train, such as " in capsys.readouterr().out
    clip(keypoints=None)(data)
    for name in ("train1", "train2"):
        (data / f"train/nmms/{name}.pkl").write_bytes(b"")
    assert "3 of 3 clips" in refused("data_preparation", "--skip_bad", D=data)  # nothing would be left


def test_missing_texts_are_a_warning_and_no_lesson(data: Path, capsys, refused, trained, tmp_path: Path):
    (data / "train.txt").unlink()
    commands.call("data_preparation", D=data)
    assert "warning: " in (out := capsys.readouterr().out)
    assert "train.txt is missing, so the texts of train are empty" in out
    said = refused("predictor", "--text_encoder scratch --scratch_dim 32", D=data, A=trained.autoencoder, O=tmp_path)
    assert "every text is empty; stages 2 and 3 learn from text" in said


def test_training_before_preparing_says_what_to_run(data: Path, refused, tmp_path: Path):
    assert "normalization_stats.npz: no such file; run data_preparation.py" in refused(
        "autoencoder", D=data, O=tmp_path
    )
    (data / "normalization_stats.npz").write_bytes(b"PK")
    assert "not readable statistics" in refused("autoencoder", D=data, O=tmp_path)


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def tampered(source: Path, target: Path, **changes: object) -> Path:
    """The checkpoint with changes; changed weights get the fingerprint that they have."""
    if "weights" in changes:
        changes = {"fingerprint": checkpoints.fingerprint(changes["weights"]), **changes}
    torch.save({**torch.load(source, weights_only=True), **changes}, target)
    return target


def test_a_bad_checkpoint_is_refused_for_what_it_is(trained, data_dir, refused, tmp_path: Path):
    bad = tmp_path / "bad.pt"

    def said() -> str:
        return refused("inference", D=data_dir, O=tmp_path / "o.npy", A=trained.autoencoder, P=bad)

    assert f"{bad}: no such checkpoint; train_stage2_predictor.py writes one" in said()
    whole = trained.predictor.read_bytes()
    for part in (b"", whole[: len(whole) // 2], b"hello" * 100):
        bad.write_bytes(part)
        assert str(bad) in said()
    bad.write_bytes(whole[: len(whole) // 2])
    assert "not a readable checkpoint (truncated?)" in said()
    proof = tmp_path / "executed"
    tampered(trained.predictor, bad, config=Trap(proof))
    assert "holds more than tensors and plain values; refused without being executed" in said()
    assert not proof.exists()
    torch.save({"state_dict": {}}, bad)
    assert "not a checkpoint of this project" in said()
    tampered(trained.predictor, bad, format=99)
    assert "format 99" in said()
    tampered(trained.predictor, bad, weights={})
    assert "its weights do not fit its configuration" in said()
    tampered(trained.predictor, bad, config={"hidden_width": 3})
    assert "its configuration does not fit this version" in said()
    assert not (tmp_path / "o.npy").exists()


def test_a_checkpoint_of_another_stage_or_another_autoencoder(trained, data_dir, refused, tmp_path: Path):
    paths = {"D": data_dir, "O": tmp_path / "o.npy", **trained.paths}
    said = refused("inference", **{**paths, "P": trained.flow})
    assert "a checkpoint of kind 'flow', but 'predictor' is needed here (train_stage2_predictor.py)" in said
    assert "'autoencoder' is needed here" in refused("inference_flow", **{**paths, "A": trained.predictor})
    content = torch.load(trained.autoencoder, weights_only=True)
    content["weights"]["encoder.embed.bias"] += 1
    del content["fingerprint"], content["format"]
    checkpoints.save_checkpoint(tmp_path / "other.pt", content)
    said = refused("inference", **{**paths, "A": tmp_path / "other.pt"})
    assert "trained on the autoencoder" in said
    assert "pass the autoencoder it was trained on" in said
    assert "kind 'predictor', but 'flow'" in refused("student", **{**paths, "O": tmp_path, "F": trained.predictor})
    assert not (tmp_path / "o.npy").exists()


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        ("student", {"space": "foo"}, "space 'foo' must be one of latent, pose"),
        ("student", {"space": "pose"}, "its latent_dim is 8, but that of its space is 214; "),
        ("student", {"temporal_stride": 1}, "its temporal_stride is 1, but that of its space is 2; "),
        (
            "flow",
            {"temporal_stride": 4, "use_sync_guidance": False},
            "its temporal_stride is 4, but that of its space is 2",
        ),
    ],
)
def test_a_network_in_another_space_than_its_autoencoders_is_refused(
    name, changed, reason, trained, data_dir, refused, tmp_path
):
    """Its weights fit: a configuration alone says where it samples, as the config.json of an export does."""
    content = torch.load(getattr(trained, name), weights_only=True)
    weights = content["weights"]
    without_sync = "use_sync_guidance" in changed
    if without_sync:
        weights = {key: value for key, value in weights.items() if ".sync_head." not in key}
    bad = tampered(getattr(trained, name), tmp_path / "bad.pt", config=content["config"] | changed, weights=weights)
    paths, more = {"D": data_dir, "A": trained.autoencoder, "F": bad}, "--no-use_sync_guidance" * without_sync
    assert reason in refused("inference_flow", more, O=tmp_path / "o.npy", **paths)
    if name == "flow":
        assert reason in refused("student", O=tmp_path / "run", **paths)


FLAGS = {
    ("predictor", "--latent_dim 256"): "--latent_dim 256 contradicts 8 in",
    ("flow", "--temporal_stride 4"): "--temporal_stride 4 contradicts 2 in",
    ("predictor", "--hidden_dim 30 --text_encoder scratch"): "hidden_dim 30 must be a multiple of twice num_heads",
    ("flow", "--text_encoder scratch --scratch_dim 30"): "scratch_dim 30 must be a multiple of 8",
    ("autoencoder", "--temporal_stride 3"): "temporal_stride 3 must be 1, 2 or 4",
    ("autoencoder", "--latent_noise -1"): "--latent_noise: -1 is not a number of at least 0",
    (
        "autoencoder",
        "--motion_kept 0.9 --latent_noise 0.5",
    ): "latent_noise 0.5 must be 0.25 at most, because motion_kept",
    ("autoencoder", "--motion_kept 1.5"): "motion_kept 1.5 must be above 0, and 1 at most",
    ("autoencoder", "--dropout 1.5"): "--dropout: 1.5 is not in [0, 1)",
    ("autoencoder", "--batch_size 0"): "--batch_size: 0 is not a positive whole number",
    ("autoencoder", "--max_seq_len -1"): "--max_seq_len: -1 is not a positive whole number",
    ("student", "--num_teacher_steps 1001"): "--num_teacher_steps: 1001 is too large; at most 1000",
    ("student", "--num_teacher_steps 3"): "--num_teacher_steps 3: a teacher needs at least 4",
    ("student", "--num_layers 3"): "--num_layers 3: the teacher has 2, of which",
    ("inference", "--target_length 0"): "--target_length: 0 is not a positive whole number",
    ("inference", "--text ' '"): "an empty text has no signs",
    ("inference", "--device gpu"): "--device gpu: no such device",
    ("inference", "--device xpu"): "--device xpu: this PyTorch cannot compute there",
    ("inference", "--device meta"): "--device meta: this PyTorch cannot compute there",
    ("inference_flow", "--num_steps 0"): "--num_steps: 0 is not a positive whole number",
    ("inference_flow", "--num_steps 1001"): "--num_steps: 1001 is too large; at most 1000",
    ("inference_flow", "--gamma_guidance 1e9"): "--gamma_guidance: 1e9 is too large; at most 10",
    ("flow", "--gamma_guidance 11"): "--gamma_guidance: 11 is too large; at most 10",
    ("flow", "--num_inference_steps 1001"): "--num_inference_steps: 1001 is too large; at most 1000",
    ("inference_flow", "--no-use_ssm_prior"): "--use_ssm_prior False: the checkpoint was trained with True",
    ("evaluate_flow", "--split train2"): "invalid choice: 'train2'",
}


@pytest.mark.parametrize(("name", "flags"), FLAGS)
def test_a_flag_that_cannot_be_is_named(name: str, flags: str, trained, data_dir, refused, tmp_path: Path):
    out = tmp_path / ("out.npy" if name.startswith("inference") else "out")
    said = refused(name, flags, D=data_dir, O=out, **trained.paths)
    assert FLAGS[name, flags] in said.splitlines()[-1]
    assert not out.exists()


def test_other_statistics_than_the_checkpoints_are_refused(data: Path, trained, refused, tmp_path: Path):
    commands.call("data_preparation", D=data)
    said = refused("inference", D=data, O=tmp_path / "o.npy", **trained.paths)
    assert "with statistics" in said
    last = trained.autoencoder.with_name("last.pt")
    said = refused("autoencoder", f"--resume_from {last}", D=data, O=tmp_path)
    assert f"{last}: trained with other data statistics" in said
    said = refused("autoencoder", f"--resume_from {trained.autoencoder}", D=data, O=tmp_path)
    assert "holds no training state; resume from last.pt" in said


# ---- the machine -----------------------------------------------------------------------------------------------------


def test_a_missing_text_encoder_says_what_to_pass(trained, data_dir, refused, tmp_path: Path):
    for name in ("bert-base-multilingual-cased", "/nowhere/bert", str(tmp_path)):
        said = refused("predictor", f"--text_encoder {name}", D=data_dir, O=tmp_path / "out", A=trained.autoencoder)
        assert said.count("\n") == 0
        assert f"text encoder {name}" in said.replace("'", "")
        assert "pass a local folder that holds one, or train one from scratch: --text_encoder scratch" in said


def test_a_text_encoder_that_cannot_read_texts_alone_is_refused(bert: Path, trained, data_dir, refused, tmp_path: Path):
    """A T5 wants a text to write as well, and a tokenizer without a padding mark cannot read two texts at once."""
    encoder_and_decoder, no_padding = tmp_path / "t5", tmp_path / "unpadded"
    config = T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5Model(config).save_pretrained(encoder_and_decoder)
    BertTokenizer(str(bert / "vocab.txt")).save_pretrained(encoder_and_decoder)
    shutil.copytree(bert, no_padding)
    BertTokenizer(str(bert / "vocab.txt"), pad_token=None).save_pretrained(no_padding)
    for folder in (encoder_and_decoder, no_padding):
        said = refused("predictor", f"--text_encoder {folder}", D=data_dir, O=tmp_path / "out", A=trained.autoencoder)
        assert f"text encoder {folder} cannot read texts (" in said


def test_a_cache_that_cannot_be_written_says_where_it_may_be(data: Path, refused, tmp_path: Path):
    (tmp_path / "file").write_text("")
    said = refused("data_preparation", f"--cache_dir {tmp_path / 'file'}", D=data)
    assert f"{tmp_path / 'file'}: not writable (" in said
    assert "pass another --cache_dir" in said


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """A disk on which no file grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_half_written(data: Path, trained, data_dir, refused, tmp_path: Path):
    before = listing(data)
    with full_disk(4000):
        said = refused("data_preparation", D=data)
    assert "not written (File too large); check the free space" in said
    assert listing(data) == sorted([*before, "cache"])
    with full_disk(20_000):
        said = refused("autoencoder", D=data_dir, O=tmp_path / "run")
        assert f"{tmp_path}/run/best_model.pt: not written" in said
        said = refused("inference", D=data_dir, O=tmp_path / "run/o.npy", **trained.paths)
        assert f"{tmp_path}/run/o.npy: not written" in said
    left = [name for name in listing(tmp_path / "run") if not name.startswith("tensorboard")]
    assert left == ["config.json", "log.jsonl"]


def test_texts_that_cannot_be_read(trained, data_dir, refused, tmp_path: Path):
    paths = {"D": data_dir, "O": tmp_path / "o.npy", "T": tmp_path / "texts.txt", **trained.paths}
    assert "texts.txt: no such file; it should hold one text per line" in refused("inference_texts", **paths)
    for content, message in ((b"\xff\xfe\x00", "not UTF-8"), (b"\n \n", "holds no text; write one per line")):
        paths["T"].write_bytes(content)
        assert f"texts.txt: {message}" in refused("inference_texts", **paths)
    assert listing(tmp_path) == ["texts.txt"]


def test_every_script_ends_through_errors_run():
    """The tests above call errors.run themselves; so must the scripts."""
    for script in (commands.ROOT / name.split()[0] for name in commands.COMMANDS.values()):
        assert script.read_text(encoding="utf-8").rstrip().endswith("errors.run(main)"), script


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore lines"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError("Unable to allocate 9 TiB"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_sentence_that_says_what_to_lower(error, capsys):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        errors.run(main)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory (")
    assert "--batch_size" in said
    assert said.count("\n") == 1


def test_any_other_fault_of_the_program_keeps_its_traceback():
    def main() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        errors.run(main)
