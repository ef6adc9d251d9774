"""export.py: a folder that stands where a checkpoint does, with the same results and refusals, and its model card."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import torch
from commands import one_sentence
from hostile_checkpoints import honest, save
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from test_training import same

from checkpoints import (
    AUTOENCODER,
    FLOW,
    POSE_TO_TEXT,
    PREDICTOR,
    STUDENT,
    export_checkpoint,
    load_checkpoint,
    load_pose_to_text,
)
from evaluation.model_card import Owner, model_card
from models.pose_to_text import PoseToText, PoseToTextConfig
from models.text_encoder import train_tokenizer
from poses.statistics import Statistics
from runtime import files
from runtime.errors import UserError
from training.mixed_precision import width_of

FILES = {"README.md", "config.json", "model.safetensors"}


def export(checkpoint: Path, folder: Path, *more: object) -> Path:
    commands.call_script("export.py", "--checkpoint", checkpoint, "--output_dir", folder, *more)
    return folder


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory) -> dict[str, Path]:
    """Every stage of `trained` as a folder, by the letters of `commands`; S is the student."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {**trained.paths, "S": trained.student}
    return {letter: export(path, folder / letter) for letter, path in paths.items()}


# ---- a folder in a checkpoint's place --------------------------------------------------------------------------------


@pytest.mark.parametrize(("letter", "kind"), [("A", AUTOENCODER), ("P", PREDICTOR), ("F", FLOW), ("S", STUDENT)])
def test_a_folder_holds_what_the_checkpoint_holds(letter: str, kind: str, exported, trained):
    path = {**trained.paths, "S": trained.student}[letter]
    assert {path.name for path in exported[letter].iterdir()} == FILES
    content, original = load_checkpoint(exported[letter], kind), load_checkpoint(path, kind)
    assert same(content, original)
    assert load_file(exported[letter] / "model.safetensors").keys() == original["weights"].keys()


def test_last_pt_is_exported_without_what_training_alone_needs(trained, tmp_path: Path):
    last = trained.autoencoder.with_name("last.pt")
    content, original = load_checkpoint(export(last, tmp_path / "a"), AUTOENCODER), load_checkpoint(last, AUTOENCODER)
    assert original.keys() - content.keys() == {"training"}
    assert same(content["weights"], original["weights"])


def test_precision_and_threads_are_chosen_by_a_folders_width_as_by_its_files(exported, trained, tmp_path: Path):
    assert width_of(exported["F"]) == width_of(trained.flow) == 32
    assert width_of(tmp_path) == width_of(tmp_path / "none") == 0


@pytest.mark.parametrize(("name", "letter"), [("inference", "P"), ("inference_flow", "F"), ("inference_flow", "S")])
def test_a_folder_signs_the_same_clip(name: str, letter: str, exported, trained, data_dir, tmp_path: Path):
    own = {"P": trained.predictor, "F": trained.student if letter == "S" else trained.flow, "A": trained.autoencoder}
    commands.call(name, "--seed 3", D=data_dir, O=tmp_path / "a.npy", **own)
    folders = {"P": exported["P"], "F": exported[letter], "A": exported["A"]}
    commands.call(name, "--seed 3", D=data_dir, O=tmp_path / "b.npy", **folders)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    records = [json.loads((tmp_path / f"{clip}.json").read_text()) for clip in "ab"]
    assert records[0]["fingerprints"] == records[1]["fingerprints"]


def test_later_stages_train_on_folders_to_the_same_weights(exported, trained, data_dir, tmp_path: Path):
    own = {"A": trained.autoencoder, "F": trained.flow}
    for run, paths in (("a", own), ("b", {letter: exported[letter] for letter in "AF"})):
        commands.call("student", "--num_epochs 1", D=data_dir, O=tmp_path / run, **paths)
    assert same(*(load_checkpoint(tmp_path / run / "last.pt", STUDENT) for run in "ab"))


def test_an_evaluation_scores_folders_the_same(exported, trained, data_dir, tmp_path: Path):
    for run, paths in (("a", trained.paths), ("b", {letter: exported[letter] for letter in "AP"})):
        commands.call("evaluate_predictor", "--num_workers 0", D=data_dir, O=tmp_path / run, **paths)
    reports = [json.loads((tmp_path / run / "metrics_dev.json").read_text()) for run in "ab"]
    for report in reports:
        del report["model"]["latency"]
    assert reports[0] == reports[1]


def test_a_checkpoint_of_an_earlier_version_keeps_its_fingerprint(trained, tmp_path: Path):
    content = torch.load(trained.student, weights_only=True)
    content["weights"]["net.null_token"] = torch.zeros(32)  # which students had
    content["config"] = {**load_checkpoint(trained.flow, FLOW)["config"], "student_steps": [1, 2, 4], "dropout": 0.0}
    del content["format"], content["fingerprint"]
    save(tmp_path / "old.pt", content)
    old, new = (
        load_checkpoint(path, STUDENT) for path in (tmp_path / "old.pt", export(tmp_path / "old.pt", tmp_path / "new"))
    )
    assert same(old, new)


def test_a_back_translator_is_exported_too(statistics: Statistics, tmp_path: Path):
    config = PoseToTextConfig(train_tokenizer(["a b", "c"]), 16, 2, 1, 2)
    model = PoseToText(config, statistics)
    content = {
        "kind": POSE_TO_TEXT,
        "config": dataclasses.asdict(config),
        "weights": model.state_dict(),
        "parent": None,
    }
    save(tmp_path / "best_model.pt", content | {"statistics": statistics.to_dict(), "text_encoder": None, "epoch": 1})
    read, its_statistics, _ = load_pose_to_text(export(tmp_path / "best_model.pt", tmp_path / "folder"))
    assert same(read.state_dict(), model.eval().state_dict())
    assert its_statistics.fingerprint == statistics.fingerprint


# ---- refusals --------------------------------------------------------------------------------------------------------


def refuse(capsys, name: str, out: Path, data_dir: Path, **paths: Path) -> str:
    capsys.readouterr()
    return one_sentence(capsys, lambda: commands.call(name, D=data_dir, O=out, **paths))


def test_a_folder_of_another_stage_or_another_autoencoder_is_refused(exported, trained, data_dir, tmp_path, capsys):
    out = tmp_path / "x.npy"
    said = refuse(capsys, "inference", out, data_dir, P=exported["F"], A=exported["A"])
    assert f"{exported['F']}: a checkpoint of kind 'flow', but 'predictor' is needed here" in said
    content = {**torch.load(trained.autoencoder, weights_only=True)}
    content["weights"] = {name: 2 * value for name, value in content["weights"].items()}
    del content["format"], content["fingerprint"]
    save(tmp_path / "other.pt", content)
    other = export(tmp_path / "other.pt", tmp_path / "other")
    said = refuse(capsys, "inference", out, data_dir, P=exported["P"], A=other)
    assert f"{exported['P']}: trained on the autoencoder" in said
    assert not out.exists()


def changed(**changes: object):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def configured(**changes: object):
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        changed(config=config["config"] | changes)(folder)

    return change


def flip(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def cut(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size - 4)


DAMAGED = {
    "a truncated file": (cut, "model.safetensors: not a readable checkpoint (truncated?)"),
    "a flipped bit": (flip, "its weights are not those that were saved"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no such checkpoint, as the folder has no"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
    "half a config": (lambda folder: os.truncate(folder / "config.json", 99), "config.json: not readable JSON"),
    "a list for a config": (lambda folder: (folder / "config.json").write_text("[]"), "not a checkpoint's values"),
    "a config that lies of a width": (configured(hidden_dim=64), "its weights do not fit its configuration"),
    "a config that lies of its kind": (changed(kind="flow"), "a checkpoint of kind 'flow'"),
    "a config of another fingerprint": (changed(fingerprint="0" * 12), "its weights are not those that were saved"),
    "a config of a million heads": (configured(num_heads=10**7), "its configuration does not fit this version"),
    "a config without statistics": (changed(statistics=None), "its statistics are incomplete"),
    "a config of another format": (changed(format=2), "format 2, but this version reads format 1"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_refused_by_name(case: str, exported, data_dir, tmp_path: Path, capsys):
    break_it, message = DAMAGED[case]
    folder = shutil.copytree(exported["A"], tmp_path / "folder")
    break_it(folder)
    said = refuse(capsys, "inference", tmp_path / "x.npy", data_dir, P=exported["P"], A=folder)
    assert message in said
    assert str(folder) in said


def test_the_weights_alone_are_no_checkpoint(exported, data_dir, tmp_path: Path, capsys):
    weights = exported["A"] / "model.safetensors"
    said = refuse(capsys, "inference", tmp_path / "x.npy", data_dir, P=exported["P"], A=weights)
    assert said == f"error: {weights}: a part of a checkpoint; name its folder"


def test_training_does_not_write_into_an_exported_folder(exported, data_dir, capsys):
    before = (exported["A"] / "config.json").read_bytes()
    assert "holds a model of export.py" in refuse(capsys, "autoencoder", exported["A"], data_dir)
    assert (exported["A"] / "config.json").read_bytes() == before


# ---- writing it ------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_there_is_replaced_only_if_asked_and_only_if_it_is_an_export(trained, tmp_path: Path, capsys):
    folder = export(trained.autoencoder, tmp_path / "a")
    said = one_sentence(capsys, lambda: export(trained.predictor, folder))
    assert said == f"error: {folder}: already exists; replace it (--overwrite), or choose another --output_dir"
    assert load_checkpoint(folder, AUTOENCODER)
    export(trained.predictor, folder, "--overwrite")
    assert load_checkpoint(folder, PREDICTOR)
    (folder / ".git").mkdir()
    said = one_sentence(capsys, lambda: export(trained.autoencoder, folder, "--overwrite"))
    assert said.endswith("holds more than a model (.git), so it is not replaced; choose another --output_dir")
    (tmp_path / "empty").mkdir()
    assert "holds no model" in one_sentence(capsys, lambda: export(trained.flow, tmp_path / "empty", "--overwrite"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


KILL = """import os, sys, pathlib
from runtime.files import write_whole_folder
with write_whole_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "model.safetensors").write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


def test_a_link_to_a_folder_stays_one(tmp_path: Path):
    (tmp_path / "disk" / "a").mkdir(parents=True)
    (tmp_path / "a").symlink_to(tmp_path / "disk" / "a")
    with files.write_whole_folder(tmp_path / "a") as folder:
        (folder / "new").write_bytes(b"")
    assert (tmp_path / "a").is_symlink()
    assert [path.name for path in (tmp_path / "disk").rglob("*")] == ["a", "new"]


@pytest.mark.parametrize("there", [False, True])
def test_a_kill_leaves_no_half_folder_and_the_next_export_sweeps_up(there: bool, trained, tmp_path: Path, monkeypatch):
    if there:
        export(trained.autoencoder, tmp_path / "a")
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path / "a")], cwd=commands.ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").exists() == there
    assert len(list(tmp_path.iterdir())) == 1 + there
    monkeypatch.setattr(files, "_swept", set())  # as in a new process
    export(trained.flow, tmp_path / "a", "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert load_checkpoint(tmp_path / "a", FLOW)


def test_a_folder_that_cannot_be_written_is_one_sentence(trained, tmp_path: Path, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = one_sentence(capsys, lambda: export(trained.autoencoder, tmp_path / "a"))
    assert "a: not written (No space left on device); check the free space" in said
    assert list(tmp_path.iterdir()) == []


# ---- the card --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluation(trained, data_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    commands.call("evaluate_predictor", "--num_workers 0", D=data_dir, O=folder, **trained.paths)
    return folder


def test_the_card_says_what_the_user_said_and_what_was_measured(trained, evaluation: Path, tmp_path: Path):
    report = json.loads((evaluation / "metrics_dev.json").read_text())
    model = report["model"] | {"dtw_low": 0.125, "dtw_high": 9.0}  # two clips show no interval of their own
    (tmp_path / "metrics_dev.json").write_text(json.dumps({**report, "model": model}))
    words = ["--license", "other", "--license_name", "Mine: 1", "--license_link", "https://x.org/#a"]
    words += ["--data_name", "Letters", "--data_license", "MIT", "--language", "ase", "no", "--title", "A predictor"]
    card = ModelCard.load(export(trained.predictor, tmp_path / "a", "--evaluation", tmp_path, *words) / "README.md")
    front = card.data.to_dict()
    assert (front["license"], front["license_name"], front["license_link"]) == ("other", "Mine: 1", "https://x.org/#a")
    assert front["language"] == ["ase", "no"]  # which YAML alone would take for false
    assert {"sign-language", "predictor"} <= set(front["tags"])
    assert "# A predictor" in card.text
    assert "--predictor_checkpoint THIS_FOLDER --autoencoder_checkpoint AUTOENCODER" in card.text
    assert "Letters.\nIts autoencoder was trained on 12 clips, " in card.text
    assert "Training data: MIT" in card.text
    assert f" {model['dtw']:.3f} [0.125, 9.000] |" in card.text
    assert f" {model['motion_ratio']:.3f} |" in card.text
    assert f"`{load_checkpoint(trained.predictor, PREDICTOR)['fingerprint']}`" in card.text
    assert f"`{load_checkpoint(trained.autoencoder, AUTOENCODER)['fingerprint']}`" in card.text
    assert "    num_epochs: 2" in card.text
    assert str(trained.predictor.parent) not in card.text


def test_the_card_repeats_what_speaks_against_its_figures(statistics: Statistics):
    content = {"kind": AUTOENCODER, "parent": None, "fingerprint": "0123456789ab", "config": {}, "weights": {}}
    report = {
        "split": "dev",
        "num_clips": 2,
        "length_source": "given",
        "settings": {"seed": "1\n# 2"},
        "warnings": ["upside down"],
    }
    report |= {"checkpoints": {AUTOENCODER: "0123456789ab"}, "model": {"motion_ratio": 1.0, "jerk_ratio": 1.0}}
    card = model_card(content | {"statistics": statistics.to_dict()}, Owner("A"), {Path("metrics_dev.json"): report})
    assert "Warning on the row `model`: upside down." in card
    assert "\n# 2" not in card  # a report may be somebody else's


def test_the_card_tells_of_flags_that_changed_on_resuming(trained, data_dir: Path, tmp_path: Path):
    """The weights of the best epoch have those of its time, and those of a later one are told what changed."""
    run = tmp_path / "run"
    shutil.copytree(trained.autoencoder.parent, run)
    more = "--num_epochs 4 --learning_rate 1e-9 --batch_size 4 --override --resume_from auto"
    commands.call("autoencoder", more, D=data_dir, O=run)
    for name in ("best_model.pt", "last.pt"):
        epoch = load_checkpoint(run / name, AUTOENCODER)["epoch"]
        card = (export(run / name, tmp_path / name) / "README.md").read_text(encoding="utf-8")
        changed = epoch > 2
        assert ("    batch_size: 4\n" in card) == ("before epoch 3: batch_size from 8 to 4" in card) == changed
        assert ("    batch_size: 8\n" in card) != changed
    assert changed  # last.pt


def test_the_card_says_what_nobody_said(trained, tmp_path: Path, capsys):
    shutil.copy(trained.flow, tmp_path / "flow.pt")
    card = ModelCard.load(export(tmp_path / "flow.pt", tmp_path / "a") / "README.md")
    assert card.data.license == "unknown"
    assert "None were given." in card.text
    assert "not stated by whoever exported this model" in card.text
    said = capsys.readouterr().out
    assert "the card does not say with which flags the model was trained" in said
    assert "the card says that the licence is unknown" in said


def test_the_card_of_an_exported_folder_has_no_flags_of_a_run_around_it(trained, tmp_path: Path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.predictor.parent, run)
    export(trained.predictor, run / "exported")
    capsys.readouterr()
    card = ModelCard.load(export(run / "exported", tmp_path / "again") / "README.md")
    assert "num_epochs" not in card.text
    assert "The configuration of the network:" in card.text
    said = capsys.readouterr().out
    assert "with which flags the model was trained" in said
    assert f"{run / 'exported'}: an exported folder" in said


def test_figures_of_another_model_are_refused(trained, evaluation: Path, tmp_path: Path, capsys):
    said = one_sentence(capsys, lambda: export(trained.flow, tmp_path / "a", "--evaluation", evaluation))
    assert f"{evaluation}/metrics_dev.json: scores no flow, and not this checkpoint" in said
    export(trained.autoencoder, tmp_path / "b", "--evaluation", evaluation)  # whose reconstruction is scored there
    assert "This model is the row `reconstruction`" in (tmp_path / "b" / "README.md").read_text()
    said = one_sentence(capsys, lambda: export(trained.flow, tmp_path / "a", "--evaluation", tmp_path))
    assert f"{tmp_path}: no metrics_SPLIT.json" in said
    for content in ("[]", "{}", '{"split": "dev", "num_clips": 2, "model": {"dtw": "low"}}'):
        (tmp_path / "metrics_dev.json").write_text(content)
        said = one_sentence(capsys, lambda: export(trained.flow, tmp_path / "a", "--evaluation", tmp_path))
        assert "metrics_dev.json: not a report of evaluate.py" in said
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--license", "My own"], "'My own' is no identifier of a licence"),
        (["--license_name", "x"], "--license_name needs --license other"),
        (["--title", "a\nb"], "not a text of one line"),
    ],
)
def test_a_licence_or_a_name_that_is_none_is_refused(words: list[str], message: str, trained, tmp_path: Path, capsys):
    assert message in commands.refusal(capsys, lambda: export(trained.flow, tmp_path / "a", *words))
    assert not (tmp_path / "a").exists()


def test_an_exported_folder_is_exported_again(exported, tmp_path: Path):
    again = export(exported["P"], tmp_path / "again")
    for name in ("model.safetensors", "config.json"):
        assert (again / name).read_bytes() == (exported["P"] / name).read_bytes()


def test_values_that_json_has_not_are_refused(tmp_path: Path):
    content = honest(AUTOENCODER) | {"epoch": torch.ones(1)}
    with pytest.raises(UserError, match="JSON cannot express a value"):
        export_checkpoint(tmp_path / "a", content, "")
    assert list(tmp_path.iterdir()) == []
