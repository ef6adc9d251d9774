"""Stage 1 says when it learns its train clips by heart, and mixes faces then if it is asked to (--mixed_faces auto)."""

import json
from collections.abc import Iterator
from pathlib import Path

import commands
import pytest
from test_training import same, train_in_two_parts

import train_stage1_autoencoder
from checkpoints import AUTOENCODER, load_checkpoint
from training import state
from training.state import Progress


@pytest.fixture
def by_heart_at_once() -> Iterator[None]:
    """The first epoch counts as learnt by heart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "BY_HEART", 0.0)
        yield


@pytest.mark.parametrize(
    ("train_loss", "dev_loss", "said"), [(0.1, 0.11, ""), (0.1, 0.3, ""), (0.06, 0.276, "4.6 times")]
)
def test_dev_losses_of_more_than_three_times_the_train_loss_are_told(train_loss, dev_loss, said, capsys):
    train_stage1_autoencoder.say_learnt_by_heart(train_loss, dev_loss)
    told = capsys.readouterr().out
    assert said in told
    assert bool(told) == bool(said)


def test_a_run_that_mixes_faces_is_not_told_to_mix_them(by_heart_at_once, data_dir: Path, tmp_path: Path, capsys):
    for share, told in ((0, True), (0.5, False)):
        commands.call("autoencoder", f"--num_epochs 1 --mixed_faces {share}", D=data_dir, O=tmp_path / str(share))
        assert ("try --mixed_faces auto" in capsys.readouterr().out) == told


def test_train_is_known_by_heart_from_the_first_epoch_on_that_shows_it():
    progress = Progress()
    for progress.epoch, (train_loss, dev_loss) in enumerate([(0.5, 0.6), (0.1, 0.3), (0.1, 0.31), (0.1, 0.9)], 1):
        progress.update_by_heart(train_loss, dev_loss)
    assert progress.by_heart_in == 3


def weights(folder: Path) -> dict:
    return load_checkpoint(folder / "last.pt", AUTOENCODER)["training"]["model"]


def test_faces_are_mixed_after_the_epoch_that_shows_it(by_heart_at_once, data_dir: Path, tmp_path: Path, capsys):
    folders = {share: tmp_path / share for share in ("0", "auto")}
    for share, folder in folders.items():
        commands.call("autoencoder", f"--num_epochs 2 --mixed_faces {share}", D=data_dir, O=folder)
    said = capsys.readouterr().out
    assert said.count("the dev loss of epoch 1 is more than 3 times the train loss") == 1
    logs = [[json.loads(line) for line in (folder / "log.jsonl").open()] for folder in folders.values()]
    (alone, mixed), (alone_after, mixed_after) = (tuple(log[epoch]["train"] for log in logs) for epoch in (0, 1))
    assert alone == mixed
    assert alone_after != mixed_after


def test_a_resumed_run_goes_on_mixing(by_heart_at_once, data_dir: Path, tmp_path: Path, monkeypatch):
    more = "--num_epochs 3 --mixed_faces auto"
    commands.call("autoencoder", more, D=data_dir, O=tmp_path / "whole")
    train_in_two_parts("autoencoder", tmp_path / "parts", more, monkeypatch, D=data_dir)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_loader_workers_mix_from_the_same_epoch_on(by_heart_at_once, data_dir: Path, tmp_path: Path):
    for workers in ("0", "2"):
        more = f"--num_epochs 2 --mixed_faces auto --num_workers {workers}"
        commands.call("autoencoder", more, D=data_dir, O=tmp_path / workers)
    assert same(weights(tmp_path / "0"), weights(tmp_path / "2"))


def test_clips_that_are_not_learnt_by_heart_keep_their_faces(data_dir: Path, tmp_path: Path):
    for share in ("0", "auto"):
        commands.call("autoencoder", f"--num_epochs 2 --mixed_faces {share}", D=data_dir, O=tmp_path / share)
    assert same(weights(tmp_path / "0"), weights(tmp_path / "auto"))


def test_another_word_than_auto_is_refused(data_dir: Path, tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as stop:
        commands.call("autoencoder", "--num_epochs 1 --mixed_faces half", D=data_dir, O=tmp_path)
    assert stop.value.code == 2
    assert "--mixed_faces: half is not in [0, 1), and not auto" in capsys.readouterr().err
