"""Checkpoints of earlier versions go on working: they load as what they were, sign the same clips, and resume."""

import dataclasses
import json
import shutil
from pathlib import Path

import commands
import pytest
import torch
from transformers import BertModel

from checkpoints import FLOW, POSE_TO_TEXT, STUDENT, fingerprint, load_checkpoint, load_text_to_latent, save_checkpoint
from models.latent_flow_matcher import FlowConfig
from models.pose_to_text import PoseToText, PoseToTextConfig
from models.text_encoder import train_tokenizer
from poses.statistics import Statistics
from runtime.errors import UserError
from text_encoders import open_text_encoder


def saved(path: Path, content: dict) -> Path:
    """`content` on disk as an earlier version wrote it; its fingerprint is that of its own weights."""
    save_checkpoint(path, {name: value for name, value in content.items() if name not in ("format", "fingerprint")})
    return path


def raw(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_a_flow_of_before_students_had_a_configuration_of_their_own(trained, tmp_path: Path):
    content = raw(trained.flow)
    old = saved(tmp_path / "old.pt", {**content, "config": {**content["config"], "student_steps": ()}})
    assert load_checkpoint(old, FLOW)["config"] == load_checkpoint(trained.flow, FLOW)["config"]


def test_a_flow_of_before_is_guided_as_it_was_then(trained, tmp_path: Path):
    content = raw(trained.flow)
    then = {"guidance_from": "null_text", "guidance_start": 0.0, "gamma_unit": "gradient", "sync_pulls_lag": True}
    now = {"guidance_from": "prior", "guidance_start": 0.2, "gamma_unit": "field", "sync_pulls_lag": False}
    assert {name: content["config"][name] for name in then} == now
    config = {name: value for name, value in content["config"].items() if name not in then}
    old = saved(tmp_path / "old.pt", {**content, "config": config})
    assert load_checkpoint(old, FLOW)["config"] == {**config, **then}


def test_a_student_that_was_a_flow_which_knew_its_steps(trained, tmp_path: Path):
    content, teacher = raw(trained.student), raw(trained.flow)
    config = {**teacher["config"], "student_steps": [1, 2, 4], "dropout": 0.0, "num_inference_steps": 4}
    assert set(config) == {field.name for field in dataclasses.fields(FlowConfig)} | {"student_steps"}
    weights = {**content["weights"], "net.null_token": torch.zeros(config["cond_dim"])}
    old = saved(tmp_path / "old.pt", {**content, "config": config, "weights": weights})
    parent = content["parent"]
    (ours, _), (theirs, loaded) = (load_text_to_latent(path, (STUDENT,), parent) for path in (trained.student, old))
    assert theirs.net.config == ours.net.config
    assert loaded["fingerprint"] == fingerprint(weights)
    for name, value in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], value), name


@pytest.mark.parametrize("where", ["weights", "training"])
def test_a_back_translator_whose_attention_had_other_names(where: str, statistics: Statistics, tmp_path: Path):
    config = PoseToTextConfig(train_tokenizer(["a b", "c"]), 16, 2, 1, 2)
    weights = PoseToText(config, statistics).state_dict()
    old_names = {
        name: name.replace(".self_attention.", ".attention.").replace(".cross_attention.", ".cross.")
        for name in weights
    }
    assert sum(name != old for name, old in old_names.items()) > 10
    old = {old_names[name]: value for name, value in weights.items()}
    content = {"kind": POSE_TO_TEXT, "config": dataclasses.asdict(config), "weights": old, "parent": None}
    content |= {
        "statistics": statistics.to_dict(),
        "training": {"model": dict(old), "optimizer": {"state": {}, "param_groups": []}},
    }
    content["training"]["schedule"] = {"last_epoch": 0}
    loaded = load_checkpoint(saved(tmp_path / "old.pt", content), POSE_TO_TEXT)
    state = loaded["weights"] if where == "weights" else loaded["training"]["model"]
    assert state.keys() == weights.keys()
    PoseToText(config, statistics).load_state_dict(state)


def test_a_pretrained_text_encoder_may_move_but_not_change(trained, bert: Path, data_dir: Path, capsys, tmp_path: Path):
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(bert, moved)
    shutil.copytree(bert, other)
    model = BertModel.from_pretrained(other)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[7, 3] += 0.1
    model.save_pretrained(other)
    paths = {"P": trained.predictor, "A": trained.autoencoder, "D": data_dir}
    commands.call("inference", f"--text_encoder {bert}", O=tmp_path / "here.npy", **paths)
    commands.call("inference", f"--text_encoder {moved}", O=tmp_path / "there.npy", **paths)
    assert (tmp_path / "here.npy").read_bytes() == (tmp_path / "there.npy").read_bytes()
    with pytest.raises(SystemExit):
        commands.call("inference", f"--text_encoder {other}", O=tmp_path / "never.npy", **paths)
    assert f"{trained.predictor}: trained with another text encoder than {other} is today" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        commands.call("inference", f"--text_encoder {tmp_path}/gone", O=tmp_path / "never.npy", **paths)
    said = capsys.readouterr().err
    assert f"{trained.predictor}: its text encoder '{tmp_path}/gone' could not be loaded (no such folder)" in said
    assert said.strip().endswith("name its present place by --text_encoder")
    flow = {"F": trained.flow, "A": trained.autoencoder, "D": data_dir}
    with pytest.raises(SystemExit):
        commands.call("inference_flow", f"--text_encoder {moved}", O=tmp_path / "never.npy", **flow)
    assert f"{trained.flow} holds a text encoder of its own" in capsys.readouterr().err
    assert not (tmp_path / "never.npy").exists()


def test_a_text_encoder_without_its_tokenizer_is_refused(bert: Path, tmp_path: Path):
    folder = tmp_path / "bert"
    shutil.copytree(bert, folder)
    for path in (*folder.glob("*token*"), *folder.glob("vocab*")):
        path.unlink()
    with pytest.raises(UserError, match=r"bert could not be loaded \(its tokenizer's files are missing\)"):
        open_text_encoder(str(folder), "cpu")


def test_a_text_encoder_of_the_same_weights_that_reads_capitals_is_another(bert: Path, tmp_path: Path):
    folder = tmp_path / "bert"
    shutil.copytree(bert, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "do_lower_case": False}))
    assert open_text_encoder(str(bert), "cpu").fingerprint != open_text_encoder(str(folder), "cpu").fingerprint
