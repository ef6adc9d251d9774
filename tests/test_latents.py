"""What stage 2 trains on: how latents are scaled, and that all splits are looked through before a training."""

import copy
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
import torch

from models.layers import ScaledLatents
from models.mamba_prior import PriorAlone, PriorConfig
from poses.pack import write_pack
from text_encoders import open_text_encoder
from training.latents import set_latent_scale
from training.optimisation import parameter_groups


def test_a_latent_dimension_that_is_constant_in_train_stays_small_where_dev_differs(tmp_path: Path):
    z = np.random.default_rng(0).normal(2.0, 3.0, (400, 2)).astype(np.float32)
    z[:, 1] = 1.0  # a face that is never lost
    model = ScaledLatents(2)
    set_latent_scale(model, write_pack(tmp_path / "pack", [("a", "", {"z": z[:100]}), ("b", "", {"z": z[100:]})]))
    torch.testing.assert_close(model.latent_std[0], torch.from_numpy(z[:, 0]).std(correction=0))
    assert model.normalize(torch.tensor([2.0, 0.0])).abs().max() <= 10
    assert model.denormalize(torch.zeros(2))[1] == 1.0


@pytest.mark.parametrize("prior_type", ["simple", "mamba"])
def test_weight_decay_leaves_a_state_spaces_dynamics_alone(prior_type: str):
    model = PriorAlone(PriorConfig(prior_type, latent_dim=4, hidden_dim=16, num_layers=1))
    decayed, kept = ({id(p) for p in group["params"]} for group in parameter_groups(model, 0.1))
    dynamics = {id(p) for name, p in model.named_parameters() if name.endswith(("A_log", "log_decay", "frequency"))}
    assert dynamics
    assert dynamics <= kept
    assert len(decayed | kept) == len(list(model.parameters()))


def test_the_average_of_the_weights_shares_a_frozen_text_encoder(bert: Path):
    encoder = open_text_encoder(str(bert))
    assert copy.deepcopy(encoder) is encoder


@pytest.mark.parametrize("stage", ["autoencoder", "predictor", "flow", "prior", "student"])
def test_a_test_split_that_cannot_be_read_stops_a_stage_before_it_trains(
    stage: str, trained, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    data = tmp_path / "data"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("cache"))
    next((data / "test" / "poses").iterdir()).write_bytes(b"PK")
    paths = {"D": data, "O": tmp_path / "run", "A": trained.autoencoder, "F": trained.flow}
    assert "/test/poses/" in commands.refusal(capsys, lambda: commands.call(stage, **paths))
    assert not (tmp_path / "run" / "last.pt").exists()
