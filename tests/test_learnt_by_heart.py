"""Stage 1 says when it has learnt its train clips by heart, and what helps."""

from pathlib import Path

import commands
import pytest

import train_stage1_autoencoder


@pytest.mark.parametrize(
    ("train_loss", "dev_loss", "said"), [(0.1, 0.11, ""), (0.1, 0.3, ""), (0.06, 0.276, "4.6 times")]
)
def test_dev_losses_of_more_than_three_times_the_train_loss_are_told(train_loss, dev_loss, said, capsys):
    train_stage1_autoencoder.say_learnt_by_heart(train_loss, dev_loss)
    told = capsys.readouterr().out
    assert said in told
    assert bool(told) == bool(said)


def test_a_run_that_mixes_faces_is_not_told_to_mix_them(data_dir: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(train_stage1_autoencoder, "BY_HEART", 0.0)
    for share, told in ((0, True), (0.5, False)):
        commands.call("autoencoder", f"--num_epochs 1 --mixed_faces {share}", D=data_dir, O=tmp_path / str(share))
        assert ("try --mixed_faces 0.5" in capsys.readouterr().out) == told
