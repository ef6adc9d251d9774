"""Where signed clips go: what the name says is written, and nothing takes the place of a file that is no clip's."""

import argparse
import functools
import json
import re
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest

from poses.statistics import STATISTICS_FILE
from runtime.errors import UserError
from signing import read_jobs, unusual_length


def flags(output_path: str | Path, text: str | None = "hello", text_file: Path | None = None, num_samples: int = 1):
    return argparse.Namespace(
        output_path=Path(output_path), text=text, text_file=text_file, num_samples=num_samples, seed=3, image_size=None
    )


@pytest.mark.parametrize("name", ["x.POSE", "x.mp4", "x.npz", "x.json", "x", "guidance_1.5", "x.NPY"])
def test_a_name_of_another_format_is_refused_before_anything_is_read(name: str, tmp_path: Path, capsys):
    nowhere = {"P": tmp_path / "no.pt", "A": tmp_path / "no.pt", "D": tmp_path / "no", "O": tmp_path / name}
    with pytest.raises(SystemExit) as stopped:
        commands.call("inference", **nowhere)
    assert stopped.value.code == 2
    assert f"--output_path {tmp_path / name}: clips are written as .npy" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_point_in_a_name_is_part_of_it():
    first, second = (read_jobs(flags(f"guidance_{scale}.npy", num_samples=2)) for scale in ("1.5", "1.0"))
    assert [job.path.name for job in first] == ["guidance_1.5_0001.npy", "guidance_1.5_0002.npy"]
    assert not {job.path.with_suffix(".json") for job in first} & {job.path.with_suffix(".json") for job in second}


def test_samples_of_texts_are_numbered_text_by_text(tmp_path: Path):
    (tmp_path / "texts.txt").write_text("a b\n\nc\n")
    jobs = read_jobs(flags("x.npy", None, tmp_path / "texts.txt", num_samples=2))
    assert [(job.text, job.seed, job.path.name) for job in jobs] == [
        ("a b", 3, "x_0001.npy"),
        ("a b", 4, "x_0002.npy"),
        ("c", 3, "x_0003.npy"),
        ("c", 4, "x_0004.npy"),
    ]


def test_ids_name_the_clips_as_evaluate_looks_for_them(tmp_path: Path, data_dir: Path):
    jobs = read_jobs(flags(tmp_path / "clips" / "x.npy", None, data_dir / "test.txt"))
    ids = [line.partition("|")[0] for line in (data_dir / "test.txt").read_text().split("\n") if line]
    assert [job.path for job in jobs] == [tmp_path / "clips" / f"{clip_id}.npy" for clip_id in ids]
    assert not any("|" in job.text for job in jobs)


def test_a_text_that_says_nothing_is_named_by_its_place(tmp_path: Path):
    path = tmp_path / "texts.txt"
    for content, said in (
        ("a|hello\nb|\n", "texts.txt: 'b': an empty text has no signs"),
        ("hello\n...\n", "texts.txt: text 2: the text '...' has no signs"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=re.escape(said)):
            read_jobs(flags(tmp_path / "x.npy", None, path))


def test_a_text_that_is_too_long_is_named_by_its_id_or_place(trained, tmp_path: Path, capsys):
    paths = {"P": trained.predictor, "A": trained.autoencoder, "T": tmp_path / "texts.txt", "O": tmp_path / "x.npy"}
    for start, which in (("b|", "'b'"), ("", "text 2")):
        paths["T"].write_text(f"{start and 'a|'}hello\n{start}{'a b c d e f g h ' * 40}\n")
        said = commands.one_sentence(capsys, lambda: commands.call("inference_texts", **paths))
        assert said.startswith(f"error: {paths['T']}: {which}: the text 'a b c d")
        assert said.endswith("sign it in parts, one sentence each")
    assert not list(tmp_path.glob("*.npy"))


def test_a_text_is_signed_in_the_form_in_which_texts_are_learnt(tmp_path: Path):
    (job,) = read_jobs(flags(tmp_path / "x.npy", " cafe\u0301 "))
    assert job.text == "caf\u00e9"


def test_a_data_set_that_was_prepared_into_a_cache_is_known_by_it(trained, data_dir: Path, tmp_path: Path, monkeypatch):
    data, cache = tmp_path / "data", tmp_path / "cache"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("cache", STATISTICS_FILE))
    monkeypatch.setattr("poses.statistics.os.access", lambda path, mode: Path(path) != data)
    commands.call("data_preparation", f"--num_workers 0 --cache_dir {cache}", D=data)
    paths = {"P": trained.predictor, "A": trained.autoencoder, "D": data, "O": tmp_path / "x.npy"}
    commands.call("inference", f"--target_length 9 --cache_dir {cache}", **paths)
    assert np.load(tmp_path / "x.npy").shape == (9, 214)


def test_a_cache_without_its_data_set_would_do_nothing(trained, tmp_path: Path, capsys):
    (tmp_path / "texts.txt").write_text("s e a l\n")
    paths = {"P": trained.predictor, "A": trained.autoencoder, "T": tmp_path / "texts.txt", "O": tmp_path / "x.npy"}
    said = commands.one_sentence(capsys, lambda: commands.call("inference_texts", "--cache_dir cache", **paths))
    assert said.endswith("--cache_dir needs --data_dir; add it, or leave --cache_dir out")


def test_a_sibling_that_is_no_record_stays(tmp_path: Path):
    beside = tmp_path / "config.json"
    for content in ("{}", "[1]", "no json", json.dumps({"text": "of somebody else's"})):
        beside.write_text(content)
        with pytest.raises(UserError, match="is no record of a clip"):
            read_jobs(flags(tmp_path / "config.npy"))
        assert beside.read_text() == content


@pytest.mark.parametrize(("there", "wanted"), [("x.npy", "x.pose"), ("x.pose", "x.npy")])
def test_two_formats_do_not_share_a_record(there: str, wanted: str, tmp_path: Path):
    for name in (there, "x.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(
        UserError, match=rf"{there}: is there, and {wanted} would share its \.json; remove or rename it"
    ):
        read_jobs(flags(tmp_path / wanted))


def test_clips_of_an_earlier_call_that_stay_are_told(tmp_path: Path, capsys):
    texts = tmp_path / "texts.txt"
    for name, content in (("x", "hello\n"), ("b", "a|hello\nb|hello\n")):
        texts.write_text(content)
        path = flags(tmp_path / "x.npy", None, texts, num_samples=2)
        read_jobs(path)
        assert capsys.readouterr().out == ""
        (tmp_path / f"{name}_0003.npy").touch()
        read_jobs(path)
        said = f"warning: {tmp_path / name}_0003.npy and any clip numbered after it are of an earlier call, and stay\n"
        assert capsys.readouterr().out == said
        (tmp_path / f"{name}_0003.npy").unlink()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", ["1e7", "1e9"])
def test_a_clip_that_no_signer_could_be_is_not_written(scale: str, trained, data_dir, tmp_path: Path, capsys):
    """Guidance that takes the latents far from all that the decoder knows."""
    paths = {"F": trained.flow, "A": trained.autoencoder, "D": data_dir, "O": tmp_path / "x.npy"}
    said = commands.one_sentence(capsys, lambda: commands.call("inference_flow", f"--guidance_scale {scale}", **paths))
    assert "the flow's clip of 'Hello world' has NaN, infinity or coordinates far outside the picture; lower" in said
    assert f"({float(scale):g})" in said
    assert list(tmp_path.iterdir()) == []


def test_a_new_clip_does_not_stand_beside_the_record_of_an_earlier_one(trained, tmp_path: Path, capsys, monkeypatch):
    paths = {"T": tmp_path / "t.txt", "P": trained.predictor, "A": trained.autoencoder, "O": tmp_path / "x.npy"}
    (tmp_path / "t.txt").write_text("a|hello\n")
    commands.call("inference_texts", "--target_length 9", **paths)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    call = functools.partial(commands.call, "inference_texts", "--target_length 12", **paths)
    assert "a.json: not written (No space left" in commands.one_sentence(capsys, call)
    assert len(np.load(tmp_path / "a.npy")) == 12
    assert not (tmp_path / "a.json").exists()


def test_a_clip_may_be_signed_again_and_says_its_rate(trained, data_dir: Path, tmp_path: Path):
    paths = {"P": trained.predictor, "A": trained.autoencoder, "D": data_dir, "O": tmp_path / "x.npy"}
    for length in (9, 12):
        commands.call("inference", f"--target_length {length}", **paths)
        assert np.load(tmp_path / "x.npy").shape == (length, 214)
    record = json.loads((tmp_path / "x.json").read_text())
    assert (record["frames"], record["fps"]) == (12, 25.0)


def test_a_length_far_from_those_of_train_is_told_once(trained, tmp_path: Path, capsys):
    (tmp_path / "texts.txt").write_text("s e a l\nl o t\n")
    paths = {"P": trained.predictor, "A": trained.autoencoder, "T": tmp_path / "texts.txt", "O": tmp_path / "x.npy"}
    for length, told in ((60, 0), (1, 1), (2000, 1)):
        commands.call("inference_texts", f"--target_length {length}", **paths)
        said = capsys.readouterr().out
        assert said.count("training hardly showed such lengths") == told
        assert said.count(f"x_0001.npy has {length} frames (one of 2 such clips)") == told


def test_only_lengths_beyond_those_of_real_clips_are_told():
    def told(usual: float | None, **made: int) -> str | None:
        return unusual_length({Path(name): frames for name, frames in made.items()}, usual)

    assert told(30.0, a=3, b=150) is None
    assert told(None, a=2000) is None  # a checkpoint that does not say what it learnt from
    assert told(30.0, a=30, b=151).startswith("b has 151 frames, where the mean train clip has 30;")
    assert told(30.0, a=2, b=151).startswith("a has 2 frames (one of 2 such clips), where")
