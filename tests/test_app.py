"""What the page signs is what the inference scripts write; what cannot be signed is one sentence. Without gradio."""

import argparse
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from test_signers import with_signers

import demo_app
from app.directions import Direction, load_directions, sign
from app.page import describe, fields_of, listen
from app.shelf import ENDINGS, Shelf
from checkpoints import FLOW
from generation import Generated
from poses import layout
from poses.single_clips import read_single_clip
from poses.statistics import STATISTICS_FILE, Statistics
from runtime import errors
from runtime.errors import UserError


def flags(trained, *flows: Path, data_dir: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(
        predictor_checkpoint=trained.predictor,
        flow_checkpoint=list(flows),
        autoencoder_checkpoint=trained.autoencoder,
        data_dir=data_dir,
        cache_dir=None,
        precision="fp32",
        compiled=False,
        text_encoder=None,
    )


def load(args: argparse.Namespace) -> list[Direction]:
    return load_directions(args, torch.device("cpu"))


@pytest.fixture(scope="module")
def directions(trained, data_dir: Path) -> dict[str, Direction]:
    loaded = load(flags(trained, trained.flow, trained.student, data_dir=data_dir))
    return {direction.generator.model.net.kind: direction for direction in loaded}


def test_every_model_has_a_name(directions: dict[str, Direction]):
    assert {kind: direction.name for kind, direction in directions.items()} == {
        "predictor": "Direction 1: predictor",
        "flow": "Direction 2: flow",
        "student": "Direction 2: student",
    }


def test_models_of_one_kind_are_told_apart_by_their_paths(trained, tmp_path: Path):
    with pytest.raises(UserError, match="given several times; name it once"):
        load(flags(trained, *[trained.flow] * 2))
    other = shutil.copy(trained.flow, tmp_path)
    names = [direction.name for direction in load(flags(trained, trained.flow, other))]
    assert names[1:] == ["Direction 2: flow", f"Direction 2: flow ({other})"]


@pytest.mark.parametrize(
    ("kind", "typed", "command", "same"),
    [
        ("predictor", {"length": " 14 ", "seed": "3"}, "inference", "--target_length 14 --seed 3"),
        ("predictor", {}, "inference_texts", ""),
        (
            *("flow", {"length": "9", "steps": "5", "guidance": "1.7", "seed": "3"}, "inference_flow"),
            "--target_length 9 --num_steps 5 --guidance_scale 1.7 --seed 3",
        ),
        ("flow", {"length": "50", "steps": "4", "seed": ""}, "inference_flow", ""),
        ("student", {"length": "50", "steps": "2", "seed": "4"}, "inference_flow", "--num_steps 2 --seed 4"),
        ("student", {"length": "7"}, "inference_flow", "--target_length 7"),
    ],
)
def test_the_clip_is_that_of_the_inference_scripts(
    kind: str,
    typed: dict,
    command: str,
    same: str,
    directions: dict[str, Direction],
    trained,
    data_dir: Path,
    tmp_path: Path,
):
    (tmp_path / "texts.txt").write_text("hello world\n")
    same += "" if command == "inference_texts" else ' --text "hello world"'
    paths = {**trained.paths, "F": getattr(trained, kind), "T": tmp_path / "texts.txt", "D": data_dir}
    commands.call(command, same, O=tmp_path / "clip.npy", **paths)
    clip, record = sign(directions[kind], "hello world ", **typed)
    (written,) = tmp_path.glob("*.npy")
    np.testing.assert_array_equal(clip.pose, np.load(written))
    kept = json.loads(written.with_suffix(".json").read_text())
    assert {**record, "seconds": None} == {**kept, "seconds": None}
    assert record["seconds"].keys() == kept["seconds"].keys()


def test_settings_of_one_clip_are_not_those_of_the_next(directions: dict[str, Direction]):
    before, _ = sign(directions["flow"], "s e a", length="9")
    other, _ = sign(directions["flow"], "s e a", length="9", steps="2", guidance="3")
    after, _ = sign(directions["flow"], "s e a", length="9")
    np.testing.assert_array_equal(before.pose, after.pose)
    assert not np.array_equal(before.pose, other.pose)


@pytest.mark.parametrize(
    ("kind", "text", "typed", "sentence"),
    [
        ("predictor", " \n ", {}, "an empty text has no signs; write something"),
        ("flow", "s e a l " * 300, {}, "of which the text encoder reads 256; sign it in parts, one sentence each"),
        ("flow", "s e a", {"length": "0"}, "length: 0 is not a positive whole number"),
        ("flow", "s e a", {"length": "6000"}, "length: 6000 is too large; at most 5000"),
        ("flow", "s e a", {"length": "1.5"}, "length: 1.5 is not a positive whole number"),
        ("flow", "s e a", {"seed": "-1"}, "seed: -1 is not a whole number of at least 0"),
        ("flow", "s e a", {"guidance": "much"}, "guidance: much is not a number of at least 0"),
        ("flow", "s e a", {"guidance": "1e9"}, "training diverged: train it again with a lower --learning_rate"),
        ("flow", "s e a", {"guidance": "nan"}, "guidance: nan is not a number of at least 0"),
        ("flow", "s e a", {"steps": "0"}, "steps: 0 is not a positive whole number"),
        ("flow", "s e a", {"steps": "100000"}, "steps: 100000 is too large; at most 1000"),
        ("student", "s e a", {"steps": "3"}, "this student takes 1, 2, 4 steps; leave the field empty"),
        (
            "student",
            "s e a",
            {"guidance": "5"},
            "guidance_scale 5: the checkpoint was trained with 2; leave the field empty",
        ),
        ("predictor", "s e a", {"steps": "4"}, "Direction 1 has neither steps nor guidance; leave both fields empty"),
    ],
)
def test_what_cannot_be_signed_is_one_sentence(kind: str, text: str, typed: dict, sentence: str, directions):
    with pytest.raises(UserError) as refused:
        sign(directions[kind], text, **typed)
    assert str(refused.value).endswith(sentence)
    assert "\n" not in str(refused.value)


def test_the_fields_say_what_the_models_take(directions: dict[str, Direction]):
    fields = {kind: fields_of(direction) for kind, direction in directions.items()}
    assert {kind: [field["placeholder"] for field in both[:2]] for kind, both in fields.items()} == {
        "predictor": ["has none", "has none"],
        "flow": ["6", "2"],
        "student": ["4 (of 1, 2, 4)", "2"],
    }
    assert {kind: [field["interactive"] for field in both[:2]] for kind, both in fields.items()} == {
        "predictor": [False, False],
        "flow": [True, True],
        "student": [True, False],
    }


def test_who_signs_is_chosen_or_drawn(statistics: Statistics, directions: dict[str, Direction]):
    direction = Direction("Direction 2: flow", with_signers(FLOW, statistics), {})
    offered = {"choices": [("drawn by the seed", ""), "anna", "ben"], "value": "", "visible": True}
    assert fields_of(direction)[2] == offered
    assert not any(fields_of(of_one)[2]["visible"] for of_one in directions.values())
    for name in ("anna", "ben"):
        clip, record = sign(direction, "sea", length="9", signer=name)
        (expected,) = direction.generator.generate(["sea"], [0], [9], signers=[name])
        np.testing.assert_array_equal(clip.pose, expected.pose)
        assert record["signer"] == name
        assert f"seed 0, 6 steps, signed by {name}, guidance 2" in describe(record, "clip0001")
    _, record = sign(direction, "sea", length="9")
    assert record["signer"] == direction.generator.model.draw_signer(0)


def test_a_clip_lies_on_the_shelf_in_every_format(directions: dict[str, Direction], tmp_path: Path):
    shelf = Shelf(tmp_path / "clips", (640, 480))
    clip, record = sign(directions["student"], "s e a", length="8")
    name = shelf.add(clip, record, "student")
    folder = shelf.folder / name
    assert shelf.video(name).read_bytes()[4:8] == b"ftyp"
    assert {path.name for path in folder.iterdir()} == {"page.html", *(f"{name}{end}" for end in ENDINGS)}
    np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), clip.pose)
    viewed = read_single_clip(folder / f"{name}.pose")
    seen = viewed.seen[:, : layout.NMM.start]
    np.testing.assert_allclose(
        viewed.pose[:, : layout.NMM.start][seen], clip.pose[:, : layout.NMM.start][seen], atol=1e-4
    )
    assert viewed.fps == 25
    assert json.loads((folder / f"{name}.json").read_text())["text"] == "s e a"
    said = describe(record, name)
    for ending in ENDINGS:
        assert f'href="/clips/{name}/{name}{ending}" download' in said
    assert "8 frames at 25 per second, seed 0, 4 steps, guidance 2" in said
    assert "their rate" not in said
    assert "at 25 per second (the checkpoint's data did not say their rate)" in describe({**record, "fps": None}, name)


def test_the_latency_is_the_sum_of_its_parts():
    record = {"frames": 1, "fps": 25, "seed": 0, "num_steps": 1}
    record["seconds"] = {"text": 0.001, "sampling": 0.0203, "decoding": 0.003}
    assert "made in 24.3 ms (text 1.0 + sampling 20.3 + decoding 3.0)" in describe(record, "clip0001")


def test_the_shelf_keeps_the_newest(directions: dict[str, Direction], tmp_path: Path, monkeypatch):
    monkeypatch.setattr("app.shelf.KEPT", 2)
    shelf = Shelf(tmp_path / "clips", None)
    clip, record = sign(directions["predictor"], "s", length="2")
    names = [shelf.add(Generated(clip.pose, clip.seconds), record, "predictor") for _ in range(4)]
    assert sorted(path.name for path in shelf.folder.iterdir()) == names[2:]
    with pytest.raises(KeyError):
        shelf.video(names[0])


def run(*words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["demo_app.py", *map(str, words)])
        errors.run(demo_app.main)


def test_a_port_in_use_is_one_sentence(trained, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with listen(0) as taken:
        host, port = taken.getsockname()
        models = ["--predictor_checkpoint", trained.predictor, "--autoencoder_checkpoint", trained.autoencoder]
        said = commands.one_sentence(capsys, lambda: run(*models, "--port", port))
    assert host == "127.0.0.1"
    assert said == f"error: --port {port}: is in use; choose another one, or 0 for a free one"


def test_without_gradio_it_says_what_installs_it(trained, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    models = ["--predictor_checkpoint", trained.predictor, "--autoencoder_checkpoint", trained.autoencoder]
    said = commands.one_sentence(capsys, lambda: run(*models))
    assert "`make .venv-app` installs it" in said


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_is_a_number_of_one(port: str, capsys):
    assert "--port" in commands.refusal(capsys, lambda: run("--autoencoder_checkpoint", "a.pt", "--port", port))


def test_one_direction_is_needed(capsys):
    said = commands.refusal(capsys, lambda: run("--autoencoder_checkpoint", "a.pt"))
    assert "nothing to sign with; pass --predictor_checkpoint, --flow_checkpoint or both" in said


def test_other_data_are_refused(trained, data_dir: Path, tmp_path: Path):
    statistics = Statistics.load(data_dir / STATISTICS_FILE)
    statistics.mean[0] += 1
    statistics.save(tmp_path / STATISTICS_FILE)
    with pytest.raises(UserError, match="with statistics"):
        load(flags(trained, data_dir=tmp_path))
