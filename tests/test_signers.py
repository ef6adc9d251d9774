"""Clips of several people: each generated clip is one person's, chosen by name or drawn by the seed."""

import json
import re
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from test_generation import LENGTHS, SEEDS, TEXTS, make_generator, with_random_weights

from checkpoints import FLOW, PREDICTOR, STUDENT, load_checkpoint
from generation import Generator
from models.text_to_latent import TextToLatent
from poses.statistics import Statistics
from poses.texts import list_signers
from runtime.errors import UserError

NAMES = ("anna", "ben")


def test_signers_stand_by_id_beside_the_texts(tmp_path: Path):
    assert list_signers(tmp_path, "train", ["a", "b"]) == {}
    path = tmp_path / "train.signers.txt"
    path.write_text("b|ben\na|anna\ndamaged|ben\n")
    assert list_signers(tmp_path, "train", ["a", "b"]) == {"a": "anna", "b": "ben"}
    for content in ("a|anna\n", "a|anna\nb|\n"):
        path.write_text(content)
        with pytest.raises(UserError, match="names no signer for 1 clips, such as 'b'"):
            list_signers(tmp_path, "train", ["a", "b"])
    path.write_text("a|anna\na|ben\n")
    with pytest.raises(UserError, match="stands there twice, with different signers"):
        list_signers(tmp_path, "train", ["a"])
    path.write_text("\u00e9|anna\ne\u0301|ben\n", encoding="utf-8")
    with pytest.raises(UserError, match="stands there in two Unicode forms"):
        list_signers(tmp_path, "train", ["\u00e9"])


def test_a_split_without_its_signers_is_refused_before_anything_is_trained(data_dir: Path, tmp_path: Path, capsys):
    data = tmp_path / "data"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("cache"))
    for split, names in (("train", ("anna", "ben")), ("dev", ("anna", "Ben"))):
        ids = [line.split("|")[0] for line in (data / f"{split}.txt").read_text().splitlines()]
        lines = [f"{clip_id}|{names[number % 2]}\n" for number, clip_id in enumerate(ids)]
        (data / f"{split}.signers.txt").write_text("".join(lines))
    said = commands.one_sentence(capsys, lambda: commands.call("data_preparation", D=data))
    assert "test.signers.txt: no such file, but train has one" in said
    ids = [line.split("|")[0] for line in (data / "test.txt").read_text().splitlines()]
    (data / "test.signers.txt").write_text("".join(f"{clip_id}|ben\n" for clip_id in ids))
    commands.call("data_preparation", D=data)
    assert "dev: train has no clip of Ben, who will be signed as the mean of its signers" in capsys.readouterr().out


def with_signers(kind: str, statistics: Statistics) -> Generator:
    plain = make_generator(kind, "none", 2, statistics)
    model = with_random_weights(TextToLatent(plain.model.net, plain.model.text_encoder, NAMES)).eval()
    return Generator(plain.autoencoder, statistics, model.requires_grad_(False), plain.sampling)


@pytest.mark.parametrize("kind", [PREDICTOR, FLOW, STUDENT])
def test_a_clip_is_of_its_signer_whatever_the_batch(kind: str, statistics: Statistics):
    generator = with_signers(kind, statistics)
    by_anna, by_ben = (generator.generate(TEXTS, SEEDS, LENGTHS, signers=[name] * len(TEXTS)) for name in NAMES)
    drawn = generator.generate(TEXTS, SEEDS, LENGTHS)
    assert {clip.signer for clip in by_anna} == {"anna"}
    assert {clip.signer for clip in drawn} == set(NAMES)
    for index, (anna, ben, clip) in enumerate(zip(by_anna, by_ben, drawn, strict=True)):
        assert np.abs(anna.pose - ben.pose).max() > 1e-3
        np.testing.assert_allclose(clip.pose, (anna if clip.signer == "anna" else ben).pose, atol=1e-5)
        (alone,) = generator.generate(TEXTS[index : index + 1], SEEDS[index : index + 1], LENGTHS[index : index + 1])
        assert alone.signer == clip.signer
        np.testing.assert_allclose(alone.pose, clip.pose, atol=1e-5)


@torch.no_grad()
def test_one_who_is_not_known_is_all_of_them(statistics: Statistics):
    model = with_signers(PREDICTOR, statistics).model
    cond, _ = model.embed_text(["sea"] * 4)
    anna, ben, stranger, nobody = model.by_signer(cond, ["anna", "ben", "carl", ""])
    torch.testing.assert_close(stranger, (anna + ben) / 2)
    torch.testing.assert_close(nobody, stranger)
    assert (anna - ben).abs().max() > 1e-3


@pytest.fixture(scope="module")
def of_two(data_dir: Path, trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A data set of two signers, and the flow and the student that were trained on it."""
    folder = tmp_path_factory.mktemp("of_two")
    shutil.copytree(data_dir, folder / "data")
    for split in ("train", "dev", "test"):
        ids = sorted(path.stem for path in (folder / "data" / split / "poses").glob("*.npz"))
        lines = [f"{clip_id}|{NAMES[number % 2]}\n" for number, clip_id in enumerate(ids)]
        (folder / "data" / f"{split}.signers.txt").write_text("".join(lines))
    paths = {"D": folder / "data", "A": trained.autoencoder, "F": folder / "flow" / "last.pt"}
    commands.call("flow", O=folder / "flow", **paths)
    commands.call("student", O=folder / "student", **paths)
    return paths | {"S": folder / "student" / "last.pt"}


def test_a_student_learns_from_the_signers_that_its_teacher_knows(of_two: dict[str, Path], tmp_path: Path, capsys):
    data = tmp_path / "data"
    shutil.copytree(of_two["D"], data, ignore=shutil.ignore_patterns("cache"))
    paths = {"D": data, "A": of_two["A"], "F": of_two["F"], "O": tmp_path / "student"}
    for split in ("train", "dev", "test"):
        path = data / f"{split}.signers.txt"
        path.write_text(path.read_text().replace("|ben", "|carl"))
    said = commands.one_sentence(capsys, lambda: commands.call("student", **paths))
    assert "the teacher knows anna, ben, and" in said
    assert "names carl, whom the teacher does not know" in said
    for path in data.glob("*.signers.txt"):
        path.unlink()
    assert "names no signers" in commands.one_sentence(capsys, lambda: commands.call("student", **paths))


def test_every_stage_learns_from_the_signers_file(of_two: dict[str, Path]):
    for path in (of_two["F"], of_two["S"]):
        content = load_checkpoint(path, FLOW, STUDENT)
        assert content["signers"] == list(NAMES)
        vectors = content["weights"]["signer_vectors"]
        assert vectors.shape == (2, 32)
        assert (vectors[0] - vectors[1]).abs().max() > 0


def test_a_signer_whose_clips_have_no_text_is_not_learnt(of_two: dict[str, Path], tmp_path: Path, capsys):
    data = tmp_path / "data"
    shutil.copytree(of_two["D"], data, ignore=shutil.ignore_patterns("cache"))
    texts, signers = data / "train.txt", data / "train.signers.txt"
    alone, *others = texts.read_text().splitlines()
    alone = alone.split("|")[0]
    texts.write_text("\n".join([f"{alone}|", *others]))
    signers.write_text(re.sub(rf"^{re.escape(alone)}\|.*$", f"{alone}|carl", signers.read_text(), flags=re.M))
    paths = {"A": of_two["A"], "D": data, "O": tmp_path / "flow"}
    commands.call("data_preparation", D=data)
    assert "train: no clip of carl has a text; they will be signed as the mean" in capsys.readouterr().out
    commands.call("flow", **paths)
    assert load_checkpoint(tmp_path / "flow" / "last.pt", FLOW)["signers"] == list(NAMES)


def test_the_signer_is_chosen_by_name_and_the_record_says_who(of_two, tmp_path: Path, capsys):
    paths = {"A": of_two["A"], "F": of_two["S"], "D": of_two["D"]}
    clips = {}
    for name in NAMES:
        commands.call("inference_flow", f"--signer {name}", O=tmp_path / f"{name}.npy", **paths)
        clips[name] = np.load(tmp_path / f"{name}.npy")
        assert json.loads((tmp_path / f"{name}.json").read_text())["signer"] == name
    assert np.abs(clips["anna"] - clips["ben"]).max() > 0
    commands.call("inference_flow", O=tmp_path / "drawn.npy", **paths)
    drawn = json.loads((tmp_path / "drawn.json").read_text())["signer"]
    assert f"signed by {drawn}, as the seed draws; --signer chooses" in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(tmp_path / "drawn.npy"), clips[drawn])
    said = commands.one_sentence(
        capsys, lambda: commands.call("inference_flow", "--signer carl", O=tmp_path / "x.npy", **paths)
    )
    assert "--signer carl: the checkpoint knows anna, ben" in said


def test_a_checkpoint_without_signers_says_so(trained, data_dir: Path, tmp_path: Path, capsys):
    paths = {"A": trained.autoencoder, "F": trained.student, "D": data_dir, "O": tmp_path / "x.npy"}
    said = commands.one_sentence(capsys, lambda: commands.call("inference_flow", "--signer anna", **paths))
    assert "no signers, as its data set has no train.signers.txt; leave the flag out" in said


def test_evaluation_gives_each_reference_its_signer(of_two, tmp_path: Path):
    paths = {"A": of_two["A"], "F": of_two["S"], "D": of_two["D"]}
    commands.call("evaluate_flow", "--num_workers 0", O=tmp_path, **paths)
    report = json.loads((tmp_path / "metrics_test.json").read_text())
    assert report["settings"]["signers"] == "those of the references"


def test_a_run_on_other_signers_is_not_gone_on_with(of_two, tmp_path: Path, capsys):
    data = tmp_path / "data"
    shutil.copytree(of_two["D"], data)
    (data / "train.signers.txt").write_text((data / "train.signers.txt").read_text().replace("ben", "carl"))
    more = f"--num_epochs 3 --resume_from {of_two['F']}"
    paths = {"A": of_two["A"], "D": data, "O": of_two["F"].parent}
    assert "trained with other signers" in commands.one_sentence(capsys, lambda: commands.call("flow", more, **paths))


def test_signers_of_train_alone_are_one_sentence(of_two, tmp_path: Path, capsys):
    data = tmp_path / "data"
    shutil.copytree(of_two["D"], data)
    (data / "dev.signers.txt").unlink()
    paths = {"A": of_two["A"], "D": data, "O": tmp_path / "flow"}
    assert "dev.signers.txt: no such file" in commands.one_sentence(capsys, lambda: commands.call("flow", **paths))
