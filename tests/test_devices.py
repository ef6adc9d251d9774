"""Training and sampling mix no devices. PyTorch's device without memory ("meta") stands for a GPU: like one, it
refuses a mix."""

import contextlib

import pytest
import torch
from test_generation import FLOW_SIZES, TEXTS, make_generator
from torch import nn

import train_stage2_latent_flow
import train_stage2_predictor
import train_stage2_prior
import train_stage3_distillation
from checkpoints import FLOW, STUDENT
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.autoencoder_loss import AutoencoderLoss
from models.flow_matching import sample_ode, time_grid
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.latent_predictor import LatentPredictor, PredictorConfig
from models.mamba_prior import PriorAlone, PriorConfig
from models.sampling_settings import SamplingSettings
from models.text_encoder import ScratchTextConfig, ScratchTextEncoder, train_tokenizer
from models.text_to_latent import TextToLatent, make_student
from models.whole_batch import Draws, WholeBatch, part_of
from poses.layout import POSE_DIM
from poses.presence import NUM_ARTICULATORS
from poses.statistics import Statistics
from training.optimisation import parameter_groups, update_ema
from training.state import Losses

FRAMES, LATENTS, DIM = 24, 6, 9
IDS = [f"clip{n}" for n in range(len(TEXTS))]
SIGNERS = ["a", "b"]


@pytest.fixture(autouse=True)
def without_what_meta_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.layers.key_mask", lambda mask: mask[:, None, None, :])  # asks no values of the mask
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: contextlib.nullcontext())  # knows no such device


def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(len(TEXTS), *shape, dtype=dtype, device="meta")


def batch() -> dict:
    """What a loader gives any stage."""
    mask = on_gpu(LATENTS, dtype=torch.bool)
    return {
        **{"id": IDS, "text": TEXTS, "signer": (SIGNERS * len(TEXTS))[: len(TEXTS)]},
        **{"pose": on_gpu(FRAMES, POSE_DIM), "pose_mask": on_gpu(FRAMES, dtype=torch.bool)},
        **{"seen": on_gpu(FRAMES, POSE_DIM, dtype=torch.bool)},
        **{"present": on_gpu(FRAMES, NUM_ARTICULATORS, dtype=torch.bool)},
        **{"z": on_gpu(LATENTS, DIM), "z_mask": mask, "frames": on_gpu(1)},
        **{"energy": on_gpu(FRAMES, 2), "energy_mask": on_gpu(FRAMES, dtype=torch.bool)},
        **{"states": on_gpu(LATENTS, 5 * DIM), "states_mask": mask},
    }


def with_text(net: nn.Module) -> TextToLatent:
    encoder = ScratchTextEncoder(ScratchTextConfig(train_tokenizer(TEXTS), dim=16, num_layers=1, num_heads=2))
    return TextToLatent(net, encoder, SIGNERS)


def flow(prior: str, start: str) -> TextToLatent:
    config = FlowConfig(**FLOW_SIZES, prior_type=prior, temporal_stride=4, start=start)
    return with_text(LatentFlowMatcher(config))


def autoencoder(statistics: Statistics, **how: object) -> PoseAutoencoder:
    layers = dict.fromkeys(["encoder_layers", "coarse_layers", "medium_layers", "fine_layers"], 1)
    sizes = {"latent_dim": DIM, "hidden_dim": 16, "num_heads": 2, "temporal_stride": 4}
    return PoseAutoencoder(AutoencoderConfig(**sizes, **layers, **how), statistics)


def autoencoder_loss(model: PoseAutoencoder, batch: dict, draws: Draws) -> Losses:
    return AutoencoderLoss()(model, *(batch[name] for name in ("pose", "seen", "present", "pose_mask")), draws)


STAGES = {
    "autoencoder": (autoencoder, autoencoder_loss),
    "autoencoder without presence": (lambda s: autoencoder(s, presence=False), autoencoder_loss),
    "autoencoder without body frame": (lambda s: autoencoder(s, body_frame=False), autoencoder_loss),
    "predictor": (
        lambda s: with_text(LatentPredictor(PredictorConfig(DIM, 16, 2, 2, cond_dim=16))),
        train_stage2_predictor.loss,
    ),
    "simple prior": (lambda s: PriorAlone(PriorConfig("simple", DIM, 16, 1)), train_stage2_prior.loss),
    "Mamba prior": (lambda s: PriorAlone(PriorConfig("mamba", DIM, 16, 1)), train_stage2_prior.loss),
    "flow": (lambda s: flow("none", "noise"), train_stage2_latent_flow.loss),
    "flow with a simple prior": (lambda s: flow("simple", "noise"), train_stage2_latent_flow.loss),
    "flow with a Mamba prior": (lambda s: flow("mamba", "noise"), train_stage2_latent_flow.loss),
    "flow that starts around a mean": (lambda s: flow("simple", "mean"), train_stage2_latent_flow.loss),
    "student": (lambda s: make_student(flow("simple", "noise"), 2), train_stage3_distillation.loss),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_step_mixes_no_devices(stage: str, statistics: Statistics):
    make, loss = STAGES[stage]
    model, average = (make(statistics).to("meta").train() for _ in range(2))
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=0.01))
    draws = Draws.of(IDS, 0, 1, device="meta")
    with part_of(WholeBatch(draws, lambda part: part, 1.0)):
        losses = loss(model, batch(), draws)
    assert {value.device.type for value in losses.values()} == {"meta"}
    losses["loss"].backward()
    optimizer.step()
    update_ema(average, model, decay=0.99, step=1)


@pytest.mark.parametrize(("kind", "prior"), [(FLOW, "simple"), (FLOW, "mamba"), (STUDENT, "none")])
def test_sampling_mixes_no_devices(kind: str, prior: str, statistics: Statistics):
    """Times lie on the CPU, networks elsewhere."""
    net = make_generator(kind, prior, 1, statistics).model.net.to("meta")
    settings, mask = net.resolve(SamplingSettings()), torch.ones(2, 9, dtype=torch.bool, device="meta")
    text = torch.randn(2, 5, 16, device="meta"), torch.ones(2, 5, dtype=torch.bool, device="meta")
    field, how = (net.step_field, 4) if kind == STUDENT else (net.guided_field, settings)
    velocity = field(*text, mask, how, table=net.time_table(settings))
    z_1 = sample_ode(velocity, torch.randn(2, 9, 9, device="meta"), time_grid(settings.num_steps), settings.solver)
    assert z_1.device.type == "meta"
    assert z_1.shape == (2, 9, 9)
