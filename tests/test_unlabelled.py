"""Clips without a text: they teach what is likely without one, and the path from a text learns nothing of them."""

import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from torch import Tensor

from checkpoints import load_checkpoint
from evaluation.clips import Reference
from evaluation.opening import to_score
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.layers import lengths_to_mask
from models.text_to_latent import LengthPredictor
from models.whole_batch import Draws
from poses import layout


@pytest.fixture
def net() -> LatentFlowMatcher:
    torch.manual_seed(0)
    sizes = {"latent_dim": 4, "hidden_dim": 16, "num_layers": 1, "num_heads": 2, "cond_dim": 8, "cfg_dropout": 0.0}
    net = LatentFlowMatcher(FlowConfig(**sizes, prior_type="simple", prior_hidden_dim=16, prior_layers=1))
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def losses(net: LatentFlowMatcher, cond: Tensor, labelled: list[bool] | None) -> dict[str, Tensor]:
    torch.manual_seed(1)
    mask, cond_mask = lengths_to_mask(torch.tensor([9, 6])), lengths_to_mask(torch.tensor([5, 3]))
    labels = None if labelled is None else torch.tensor(labelled)
    return net.loss(torch.randn(2, 9, 4), mask, cond, cond_mask, Draws.of("ab"), labels)


@pytest.mark.parametrize("training", [True, False])
def test_an_unlabelled_clip_teaches_the_prior_and_the_null_text_alone(net, training: bool):
    net.train(training)
    cond = torch.randn(2, 5, 8, requires_grad=True)
    found = losses(net, cond, [True, False])
    found["loss"].backward()
    assert cond.grad[0].abs().max() > 0
    assert not cond.grad[1].any()
    assert net.null_token.grad.abs().max() > 0
    assert all(parameter.grad.abs().max() > 0 for parameter in net.prior.output.parameters())
    other = cond.detach().clone()
    other[1] += 5.0
    assert losses(net, other, [True, False])["loss"] == found["loss"]
    assert losses(net, other, [True, True])["loss"] != found["loss"]


def test_where_all_have_a_text_the_loss_is_that_of_before(net):
    cond = torch.randn(2, 5, 8)
    for training in (True, False):
        net.train(training)
        assert losses(net, cond, [True, True]) == losses(net, cond, None)


def test_the_length_is_learnt_from_texts_alone():
    torch.manual_seed(0)
    predictor, cond, mask = LengthPredictor(8), torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    of_one = predictor.loss(cond[:1], mask[:1], torch.tensor([40.0]), torch.tensor([True]))
    of_both = predictor.loss(cond, mask, torch.tensor([40.0, 7.0]), torch.tensor([True, False]))
    torch.testing.assert_close(of_both, of_one)


@pytest.fixture(scope="module")
def half(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A data set in which every other text is empty, or says nothing; and how many of train have none."""
    folder = tmp_path_factory.mktemp("half") / "data"
    shutil.copytree(data_dir, folder, ignore=shutil.ignore_patterns("cache"))
    without = 0
    for split in ("train", "dev", "test"):
        path = folder / f"{split}.txt"
        lines = path.read_text().splitlines()
        for number in range(1, len(lines), 2):
            lines[number] = lines[number].partition("|")[0] + ("| ..." if number == 3 else "|")
        path.write_text("".join(f"{line}\n" for line in lines))
        without += len(lines) // 2 if split == "train" else 0
    return folder, without


def test_every_stage_trains_on_a_data_set_of_half_the_texts(half, trained, tmp_path: Path, capsys):
    (data, without), all_of_train = half, len(half[0].joinpath("train.txt").read_text().splitlines())
    assert 0 < without < all_of_train
    paths = {"D": data, "A": trained.autoencoder, "F": tmp_path / "flow" / "best_model.pt"}
    commands.call("flow", O=tmp_path / "flow", **paths)
    said = capsys.readouterr().out
    assert f"{without} of {all_of_train} train clips have no text: they train the prior, if there is one, and" in said
    for stage, flags in (("predictor", commands.SCRATCH), ("student", "")):
        commands.call(stage, flags, O=tmp_path / stage, **paths)
        said = capsys.readouterr().out
        assert f"{without} of {all_of_train} train clips have no text and are left out" in said
        assert load_checkpoint(tmp_path / stage / "best_model.pt", stage)["epoch"] >= 1


def test_a_data_set_without_any_text_is_refused(data_dir: Path, trained, tmp_path: Path, capsys):
    shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    texts = tmp_path / "data" / "train.txt"
    texts.write_text("".join(f"{line.partition('|')[0]}|\n" for line in texts.read_text().splitlines()))
    paths = {"D": tmp_path / "data", "A": trained.autoencoder, "O": tmp_path / "flow"}
    assert "every text is empty" in commands.one_sentence(capsys, lambda: commands.call("flow", **paths))
    assert not list((tmp_path / "flow").glob("*.pt"))


def test_clips_of_a_model_that_signed_the_texts_alone_are_scored(tmp_path: Path, capsys):
    """It writes none for a clip without a text; of one with a text its clip must be there."""
    nothing = np.zeros((1, layout.POSE_DIM))
    clips = [
        Reference(nothing, nothing > 0, clip_id, text) for clip_id, text in (("a", "hello"), ("b", ""), ("c", "!"))
    ]
    (tmp_path / "c.npy").touch()
    assert [clip.id for clip in to_score(clips, tmp_path, "dev")] == ["a", "c"]
    assert "1 of 3 clips of dev have neither a text nor a clip in" in capsys.readouterr().out
    (tmp_path / "B.npy").touch()  # a clip under another name is refused later, by that name, and not left out
    assert to_score(clips, tmp_path, "dev") == clips
    (tmp_path / "b.pose").touch()
    assert to_score(clips, tmp_path, "dev") == clips
    assert to_score(clips[1:2], tmp_path / "none", "dev") == clips[1:2]  # whose lack is named when it is read
    assert capsys.readouterr().out == ""
