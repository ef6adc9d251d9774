"""What earlier releases trained goes on working: their checkpoints have the dev losses, and sign the clips, of then.

tests/releases/COMMIT holds a checkpoint of every stage and what that release's own code said of them (record.py there
makes both). Nothing here depends on random draws: noise is the release's own, and losses that draw some are left out.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import FLOW, PREDICTOR, load_autoencoder, load_text_to_latent
from dataset import Batch, collate
from generation import Generated, load_generator
from models import latent_predictor
from models.autoencoder import PoseAutoencoder
from models.autoencoder_loss import AutoencoderLoss
from models.flow_matching import path_sample
from models.sampling_settings import SamplingSettings
from models.text_to_latent import TextToLatent
from models.whole_batch import Draws
from poses.presence import presence
from train_stage2_latent_flow import loss as flow_loss
from train_stage2_predictor import loss as predictor_loss

RELEASES = sorted(path.parent for path in (Path(__file__).parent / "releases").glob("*/recorded.json"))
CPU = torch.device("cpu")
pytestmark = pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)


def recorded(release: Path) -> dict:
    return json.loads((release / "recorded.json").read_text())


def load(release: Path, name: str, kind: str) -> tuple[TextToLatent, PoseAutoencoder]:
    """A stage's model, and the autoencoder that it was trained on."""
    autoencoder, _, content = load_autoencoder(release / "autoencoder.pt")
    return load_text_to_latent(release / f"{name}.pt", (kind,), content["fingerprint"])[0], autoencoder


def dev_batch(release: Path, *fields: str) -> Batch:
    """The dev clips as their release read them."""
    with np.load(release / "dev.npz") as arrays:
        return collate(
            [
                {"id": text, "text": text, "present": presence(arrays[f"seen{index}"])}
                | {name: arrays[f"{name}{index}"] for name in fields}
                for index, text in enumerate(recorded(release)["dev_texts"])
            ]
        )


def latent_batch(release: Path, autoencoder: PoseAutoencoder) -> Batch:
    """The same as stage 2 has them: latents of today's encoder."""
    batch = dev_batch(release, "pose", "energy", "frames")
    batch["z"] = autoencoder.encode(batch["pose"], batch["present"], batch["pose_mask"])
    return batch | {"z_mask": autoencoder.latent_mask(batch["pose_mask"])}


def signed(release: Path, name: str, num_steps: int | None, monkeypatch: pytest.MonkeyPatch) -> Generated:
    """The recorded text as the release's model signs it from the recorded noise."""
    record = recorded(release)
    noise = torch.tensor(record["noise"])[None]
    monkeypatch.setattr(latent_predictor, "sample_noise", lambda seeds, lengths, dim: noise)
    paths = release / f"{name}.pt", release / "autoencoder.pt"
    generator = load_generator(*paths, CPU, SamplingSettings(num_steps=num_steps))
    return generator.generate([record["text"]], [0], [record["frames"]])[0]


def test_the_autoencoders_dev_loss_is_that_of_then(release: Path):
    model, _, _ = load_autoencoder(release / "autoencoder.pt")
    batch, then = dev_batch(release, "pose", "seen"), recorded(release)["dev"]["autoencoder"]
    loss = AutoencoderLoss(face_weight=0.0)  # no release weighed the face by itself
    losses = loss(model, batch["pose"], batch["seen"], batch["present"], batch["pose_mask"])
    assert {name: losses[name].item() for name in then} == pytest.approx(then, rel=1e-4)


def test_the_predictors_dev_loss_is_that_of_then(release: Path):
    model, autoencoder = load(release, "predictor", PREDICTOR)
    losses = predictor_loss(model, latent_batch(release, autoencoder), None)
    then = recorded(release)["dev"]["predictor"]
    assert {name: losses[name].item() for name in then} == pytest.approx(then, rel=1e-4)


def test_what_the_flows_dev_loss_draws_nothing_for_is_that_of_then(release: Path):
    model, autoencoder = load(release, "flow", FLOW)
    batch = latent_batch(release, autoencoder)
    losses = flow_loss(model, batch, Draws.of(batch["id"]))
    then = {name: value for name, value in recorded(release)["dev"]["flow"].items() if name in ("sync", "length")}
    assert then
    assert {name: losses[name].item() for name in then} == pytest.approx(then, rel=1e-4)


def test_the_flows_field_errs_as_it_did(release: Path):
    """The flow's own loss at points of a path that the release chose."""
    record, (model, _) = recorded(release), load(release, "flow", FLOW)
    z_0 = torch.tensor(record["noise"])[None]
    settings = model.net.resolve(SamplingSettings(guidance_scale=1.0))
    mask = torch.ones(z_0.shape[:2], dtype=torch.bool)
    field = model.net.guided_field(*model.embed_text([record["text"]]), mask, settings)
    for time, then in zip(record["times"], record["field_errors"], strict=True):
        t = torch.tensor([time])
        point = path_sample(z_0, z_0.flip(1), t)
        assert ((field(point.z_t, t) - point.velocity) ** 2).mean().item() == pytest.approx(then, rel=1e-4)


@pytest.mark.parametrize("name", ["predictor", "flow", "student"])
def test_clips_are_those_of_then(release: Path, name: str, monkeypatch):
    clip = signed(release, name, None, monkeypatch).pose
    np.testing.assert_allclose(clip[[0, 10, 20], ::20], recorded(release)["clips"][name], atol=2e-5)
