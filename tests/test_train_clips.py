"""Which clips a model has learnt from: stage 2 says where its autoencoder knows others, and evaluations are warned."""

import json
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest

from checkpoints import FLOW, STUDENT, load_checkpoint
from poses.statistics import STATISTICS_FILE, Statistics

NOTE = "note: the autoencoder was trained on other clips than {}/train"


@pytest.fixture
def changed(data_dir: Path, tmp_path: Path) -> Path:
    """The data set with another recording of one train clip, as a split made anew has others, not prepared again."""
    folder = shutil.copytree(data_dir, tmp_path / "changed", ignore=shutil.ignore_patterns("cache"))
    path = min((folder / "train" / "poses").iterdir())
    with np.load(path) as archive:
        np.savez(path, **{**archive, "keypoints": archive["keypoints"] + 0.01})
    return folder


def warnings_of(more: str, folder: Path, **paths: Path) -> list[str]:
    commands.call("evaluate_flow", f"--num_workers 0 {more}", O=folder, **paths)
    return json.loads((folder / "metrics_test.json").read_text(encoding="utf-8"))["warnings"]


def test_stage_2_on_other_clips_than_its_autoencoders_is_told(trained, data_dir, changed, tmp_path, capsys):
    commands.call("flow", "--num_epochs 1", D=data_dir, A=trained.autoencoder, O=tmp_path / "same")
    assert "note: the autoencoder" not in capsys.readouterr().out
    commands.call("flow", "--num_epochs 1", D=changed, A=trained.autoencoder, O=tmp_path / "flow")
    assert NOTE.format(changed) in capsys.readouterr().out
    commands.call("data_preparation", D=changed)
    own, other = (Statistics.load(folder / STATISTICS_FILE).fingerprint for folder in (data_dir, changed))
    assert own != other
    commands.call("prior", "--num_epochs 1", D=changed, A=trained.autoencoder, O=tmp_path / "prior")
    assert NOTE.format(changed) in capsys.readouterr().out


def test_a_flow_that_learnt_from_other_clips_than_its_autoencoder_is_told(trained, data_dir, changed, tmp_path):
    """The autoencoder is of this data set, the flow of another one, in whose train clips of test may be."""
    paths = {"A": trained.autoencoder, "D": data_dir}
    assert not [line for line in warnings_of("", tmp_path / "own", F=trained.flow, **paths) if "learnt" in line]
    commands.call("flow", "--num_epochs 1", D=changed, A=trained.autoencoder, O=tmp_path / "first")
    first = tmp_path / "first" / "last.pt"
    commands.call("flow", f"--num_epochs 1 --initial_checkpoint {first}", O=tmp_path / "flow", **paths)
    flow = tmp_path / "flow" / "last.pt"
    commands.call("student", "--num_epochs 1", F=flow, O=tmp_path / "student", **paths)
    student = tmp_path / "student" / "last.pt"
    ours, theirs = (load_checkpoint(path, FLOW)["train_clips"] for path in (trained.flow, first))
    assert len(ours) == len(theirs) == 1 != (ours == theirs)
    assert load_checkpoint(flow, FLOW)["train_clips"] == sorted(ours + theirs)
    assert load_checkpoint(student, STUDENT)["train_clips"] == sorted(ours + theirs)
    for number, path in enumerate((first, flow, student)):
        (told,) = (line for line in warnings_of("", tmp_path / str(number), F=path, **paths) if "learnt" in line)
        assert told.startswith(
            f"{path} learnt from other clips than {data_dir}/train, or from these prepared otherwise"
        )
