"""One clip, one answer: what a text becomes depends on its text, length and seed, never on its batch or padding."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._inductor.config
from torch import nn

import generation
from checkpoints import FLOW, PREDICTOR, STUDENT
from generation import Generator
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.consistency_distillation import Student, StudentConfig
from models.flow_matching import predict_clean, sample_ode, time_grid
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.latent_predictor import LatentPredictor, PredictorConfig
from models.layers import CrossAttention, lengths_to_mask
from models.mamba_prior import BidirectionalS4D
from models.sampling_settings import SamplingSettings
from models.speed import Speed
from models.sync_guidance import SyncConfig, SyncGuidanceHead, soft_lag, sync_gradient
from models.text_encoder import ScratchTextConfig, ScratchTextEncoder, train_tokenizer
from models.text_to_latent import TextToLatent
from models.velocity_net import VelocityNet
from poses.layout import POSE_DIM
from poses.presence import by_number, presence, shown_numbers
from poses.statistics import Statistics
from runtime.errors import UserError

TEXTS = ["a", "a rather long sentence, with many words in it", "hello world", "sea"]
LENGTHS = [3, 37, 21, 8]
SEEDS = [5, 6, 7, 5]
FLOW_SIZES = {
    "latent_dim": 9,
    "hidden_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "cond_dim": 16,
    "prior_hidden_dim": 16,
    "prior_layers": 1,
    "lambda_prior": 0.3,
    "use_sync_guidance": True,
    "gamma_guidance": 0.5,
    "guidance_scale": 2.0,
    "guidance_start": 0.2,
    "num_inference_steps": 6,
}


def with_random_weights(module: nn.Module, scale: float = 0.1) -> nn.Module:
    """No part of a network is silent, as the parts that start at zero are."""
    for parameter in module.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return module


def make_generator(
    kind: str,
    prior: str,
    stride: int,
    statistics: Statistics,
    *,
    presence: float = 1.0,
    start: str = "noise",
    device: str = "cpu",
    **how: object,
) -> Generator:
    """A small generator of random weights; `presence`: what its latents say of it on average, above a half: there."""
    torch.manual_seed(0)
    encoder = ScratchTextEncoder(ScratchTextConfig(train_tokenizer(TEXTS), dim=16, num_layers=1, num_heads=2))
    if kind == PREDICTOR:
        net = LatentPredictor(PredictorConfig(9, 16, 2, 2, cond_dim=16, num_queries=10))
    else:
        config = FlowConfig(**FLOW_SIZES, prior_type=prior, temporal_stride=stride, start=start)
        net = LatentFlowMatcher(config)
        net.sync_head.target_correlation.fill_(0.8)
        if kind == STUDENT:
            net = Student(StudentConfig.of_teacher(config, config.num_layers))
    sizes = AutoencoderConfig(9, 16, 2, 1, 1, 1, 1, temporal_stride=stride)
    autoencoder = with_random_weights(PoseAutoencoder(sizes, statistics))
    model = with_random_weights(TextToLatent(net, encoder))
    shares = slice(sizes.learnt_dim, sizes.decoded_dim)
    model.latent_mean[shares] = presence
    model.latent_std[shares] = 0.3 if presence < 1 else 0.01
    for module in (autoencoder, model):
        module.eval().requires_grad_(False).to(device)
    sampling = SamplingSettings(num_steps=4 if kind == STUDENT else None)
    return Generator(autoencoder, statistics, model, sampling, Speed(**how))


CASES = [
    (PREDICTOR, "none", 1),
    (PREDICTOR, "none", 4),
    (FLOW, "none", 2),
    (FLOW, "simple", 1),
    (FLOW, "simple", 4),
    (FLOW, "mamba", 2),
    (STUDENT, "simple", 1),
    (STUDENT, "simple", 4),
]


@pytest.mark.parametrize(("kind", "prior", "stride"), CASES)
def test_same_noise_same_clip_whatever_the_batch_or_the_padding(kind, prior, stride, statistics: Statistics):
    generator = make_generator(kind, prior, stride, statistics)
    together = generator.generate(TEXTS, SEEDS, LENGTHS)
    pairs = generator.generate(TEXTS, SEEDS, LENGTHS, batch_size=2)
    for index, clip in enumerate(together):
        (alone,) = generator.generate(TEXTS[index : index + 1], SEEDS[index : index + 1], LENGTHS[index : index + 1])
        assert clip.pose.shape == (LENGTHS[index], POSE_DIM)
        assert clip.pose.dtype == np.float32
        assert np.abs(clip.pose - alone.pose).max() < 1e-5
        assert np.abs(clip.pose - pairs[index].pose).max() < 1e-5
        assert clip.pose.std() > 0.01


def test_processes_order_clips_by_the_lengths_of_the_first(statistics: Statistics, monkeypatch: pytest.MonkeyPatch):
    """Each predicts them with its own rounding; from other lengths it would sign the texts in another order."""
    generator = make_generator(PREDICTOR, "none", 1, statistics)
    monkeypatch.setattr(generation, "broadcast_from_first", lambda lengths: [9, 5, 7, 6][: len(lengths)])
    assert [len(clip.pose) for clip in generator.generate(TEXTS, SEEDS)] == [9, 5, 7, 6]


@pytest.mark.parametrize("kind", [PREDICTOR, FLOW])
def test_the_predicted_length_does_not_depend_on_the_batch(kind, statistics: Statistics):
    generator = make_generator(kind, "none", 1, statistics)
    together = generator.generate(TEXTS, SEEDS)
    for index, text in enumerate(TEXTS):
        (alone,) = generator.generate([text], [SEEDS[index]])
        assert len(alone.pose) == len(together[index].pose) > 0
        assert np.abs(alone.pose - together[index].pose).max() < 1e-5


def test_seeds_decide_the_takes_of_a_text(statistics: Statistics):
    generator = make_generator(FLOW, "simple", 1, statistics)
    first, second = (clip.pose for clip in generator.generate(["sea"] * 2, [1, 2], [20] * 2))
    again, _ = (clip.pose for clip in generator.generate(["sea"] * 2, [1, 2], [20] * 2))
    assert np.array_equal(first, again)
    assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize("kind", [FLOW, STUDENT])
def test_text_times_and_filters_are_computed_once(kind: str, statistics: Statistics, monkeypatch: pytest.MonkeyPatch):
    """Keys, values and filters once a trajectory and layer, what the norms need of the times once for all of them."""
    calls = {"keys_values": 0, "modulations": 0, "kernels": 0}

    def count(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def counted(*args: object) -> object:
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(owner, name, counted)

    count(CrossAttention, "keys_values")
    count(VelocityNet, "modulations")
    count(BidirectionalS4D, "kernels")
    generator = make_generator(kind, "simple", 1, statistics)
    generator.generate(TEXTS, SEEDS, LENGTHS, batch_size=2)
    filters = 0 if kind == STUDENT else 2 * FLOW_SIZES["prior_layers"]
    assert calls == {"keys_values": 2 * FLOW_SIZES["num_layers"], "modulations": 1, "kernels": filters}


@pytest.mark.parametrize("solver", ["ab2", "midpoint"])
def test_remembered_times_change_nothing(solver: str, statistics: Statistics):
    net = make_generator(FLOW, "simple", 1, statistics).model.net
    cond, mask = torch.randn(2, 5, 16), lengths_to_mask(torch.tensor([9, 6]))
    cond_mask, grid, z_0 = lengths_to_mask(torch.tensor([5, 3])), time_grid(6), torch.randn(2, 9, 9) * mask[..., None]
    settings = net.resolve(SamplingSettings(num_steps=6, solver=solver))
    plain = sample_ode(net.guided_field(cond, cond_mask, mask, settings), z_0, grid, solver)
    table = net.time_table(settings)
    remembered = sample_ode(net.guided_field(cond, cond_mask, mask, settings, table), z_0, grid, solver)
    torch.testing.assert_close(remembered, plain, rtol=1e-5, atol=5e-6)


def test_what_is_absent_is_zeros_and_nothing_else_is(statistics: Statistics):
    clips = make_generator(FLOW, "none", 1, statistics, presence=0.5).generate(TEXTS, SEEDS, LENGTHS)
    absent = 0
    for clip in clips:
        seen = shown_numbers(clip.pose)
        np.testing.assert_array_equal(clip.pose != 0, seen)  # all of a hand, or nothing
        np.testing.assert_array_equal(seen, by_number(presence(seen)))  # as steady as real clips are read
        absent += (~seen).sum()
    assert absent > 0


@pytest.mark.parametrize("kind", [PREDICTOR, FLOW, STUDENT])
def test_int8_signs_nearly_the_same_clips_and_none_depends_on_its_batch(kind: str, statistics: Statistics):
    plain = make_generator(kind, "simple", 1, statistics).generate(TEXTS, SEEDS, LENGTHS)
    generator = make_generator(kind, "simple", 1, statistics, precision="int8")
    assert generator.settings["precision"] == "int8"
    assert isinstance(generator.autoencoder.decoder.fine.layers[0].feed[0], nn.Linear)  # what `reconstruction` takes
    together = generator.generate(TEXTS, SEEDS, LENGTHS)
    for i, (clip, expected) in enumerate(zip(together, plain, strict=True)):
        error = np.abs(clip.pose - expected.pose).mean() / expected.pose.std()
        assert 0 < error < 0.05
        alone = generator.generate(TEXTS[i : i + 1], SEEDS[i : i + 1], LENGTHS[i : i + 1])[0]
        np.testing.assert_array_equal(clip.pose, alone.pose)  # rounding to int8 magnifies the least difference


@pytest.mark.parametrize("kind", [PREDICTOR, FLOW, STUDENT])
def test_bf16_signs_the_same_clips_to_its_precision(kind: str, statistics: Statistics):
    plain = make_generator(kind, "simple", 1, statistics).generate(TEXTS, SEEDS, LENGTHS)
    generator = make_generator(kind, "simple", 1, statistics, precision="bf16")
    assert generator.settings["precision"] == "bf16"
    assert generator.autoencoder.decoder.embed.weight.dtype == torch.float32  # what `reconstruction` goes through
    for clip, expected in zip(generator.generate(TEXTS, SEEDS, LENGTHS), plain, strict=True):
        assert clip.pose.dtype == np.float32
        error = np.abs(clip.pose - expected.pose).mean() / expected.pose.std()
        assert 0 < error < 0.05


@pytest.mark.parametrize("kind", [PREDICTOR, FLOW, STUDENT])
def test_packed_weights_sign_the_same_clips(kind: str, statistics: Statistics, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.speed.uses_onednn", lambda: True)
    plain = make_generator(kind, "simple", 1, statistics).generate(TEXTS, SEEDS, LENGTHS)
    generator = make_generator(kind, "simple", 1, statistics, packed=True)
    linear = [name for name, module in generator.model.named_modules() if type(module) is nn.Linear]
    assert all(name.startswith(("length.", "net.sync_head.")) for name in linear)
    for clip, expected in zip(generator.generate(TEXTS, SEEDS, LENGTHS), plain, strict=True):
        np.testing.assert_allclose(clip.pose, expected.pose, atol=1e-5)


@pytest.mark.parametrize(("kind", "backend"), [(PREDICTOR, "eager"), (FLOW, "inductor")])
def test_compiled_networks_sign_the_same_clips_and_compile_once_for_one_clip_and_once_for_many(
    kind: str, backend: str, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
):
    """The graphs of both directions; to C++, which takes a minute, they are compiled for one."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain = make_generator(kind, "simple", 1, statistics).generate(TEXTS, SEEDS, LENGTHS, batch_size=2)
    generator = make_generator(kind, "simple", 1, statistics, compiled=True)
    assert generator.settings["compiled"]
    generator.generate(TEXTS[:1], SEEDS[:1], [9])
    generator.generate(TEXTS, SEEDS, LENGTHS)
    with torch.compiler.set_stance("fail_on_recompile"):
        clips = generator.generate(TEXTS[:1], SEEDS[:1], LENGTHS[:1])
        clips += generator.generate(TEXTS[1:], SEEDS[1:], LENGTHS[1:])
        for clip, expected in zip(clips, plain, strict=True):
            np.testing.assert_allclose(clip.pose, expected.pose, atol=1e-4)


def test_a_machine_without_a_compiler_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    nowhere, cpu = Path("nowhere.pt"), torch.device("cpu")
    with torch._inductor.config.patch("cpp.cxx", ("no-such-compiler",)), pytest.raises(UserError, match="--compile: "):
        generation.load_generator(nowhere, nowhere, cpu, speed=Speed(compiled=True))


def test_more_texts_than_are_read_at_once(statistics: Statistics, monkeypatch: pytest.MonkeyPatch):
    generator = make_generator(STUDENT, "simple", 1, statistics)
    together = generator.generate(TEXTS, SEEDS)
    monkeypatch.setattr(generation, "TEXTS_AT_A_TIME", 3)
    for clip, expected in zip(generator.generate(TEXTS, SEEDS, batch_size=2), together, strict=True):
        assert np.abs(clip.pose - expected.pose).max() < 1e-5


@pytest.mark.parametrize(
    ("gamma", "lower"),
    [(0.01, "lower the guidance scale (2), or"), (9.0, "lower the guidance scale (2) and gamma_guidance (9), or")],
)
def test_a_clip_of_no_numbers_says_which_guidance_to_lower(gamma: float, lower: str):
    settings = SamplingSettings(guidance_scale=2.0, gamma_guidance=gamma)
    with pytest.raises(UserError) as refused:
        generation.require_plausible(np.full((3, POSE_DIM), np.nan), "the clip", settings)
    assert f"; {lower} if that does not help, its training diverged" in str(refused.value)


def test_every_part_of_a_generated_clip_is_timed(statistics: Statistics):
    (clip,) = make_generator(FLOW, "simple", 1, statistics).generate(["sea"], [0], [10])
    assert set(clip.seconds) == {"text", "sampling", "decoding"}
    assert all(seconds > 0 for seconds in clip.seconds.values())


# ---- sync guidance of short clips ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 3, 6, 12])
def test_the_lag_of_a_clip_does_not_depend_on_its_padding(length: int):
    torch.manual_seed(0)
    energy = torch.rand(20, length, 2)
    alone = soft_lag(energy, torch.ones(20, length, dtype=torch.bool), max_lag=5)
    padded = torch.cat([energy, torch.rand(20, 30 - length, 2)], dim=1)
    torch.testing.assert_close(soft_lag(padded, lengths_to_mask(torch.full((20,), length), 30), max_lag=5), alone)


def test_the_lag_is_the_frames_by_which_the_face_follows():
    hands = torch.rand(46, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(1, 40, dtype=torch.bool)
    for lag in (-3, 0, 2):
        energy = torch.stack([hands[3:43], hands[3 - lag : 43 - lag]], dim=1)[None]
        assert soft_lag(energy, mask, max_lag=5, sharpness=50.0).item() == pytest.approx(lag, abs=0.1)


def test_guidance_of_a_clip_of_one_frame_is_finite():
    head = with_random_weights(SyncGuidanceHead(SyncConfig(latent_dim=4, hidden_dim=8)))
    z, t, mask = torch.randn(2, 6, 4), torch.full((2,), 0.5), lengths_to_mask(torch.tensor([1, 6]))
    assert torch.isfinite(predict_clean(z, t, z)).all()
    assert torch.isfinite(sync_gradient(head, z, t, torch.zeros_like(z), mask, in_units_of_field=True)).all()
