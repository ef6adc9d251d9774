"""The flow on targets whose answer is known, and what prior, guidance and solvers do to it."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks import gaussian
from models.consistency_distillation import Student, StudentConfig
from models.flow_matching import (
    DEFAULT_SOLVER,
    Velocity,
    path_sample,
    reached,
    sample_noise,
    sample_ode,
    time_grid,
    within,
)
from models.guidance import TEXT_GUIDANCE_END, UNCONDITIONAL
from models.latent_flow_matcher import GAMMA_UNITS, FlowConfig, LatentFlowMatcher
from models.layers import lengths_to_mask
from models.sampling_settings import SamplingSettings, SettingRefused
from models.sync_guidance import SYNC_INTERVAL, sync_gradient, sync_loss
from models.whole_batch import Draws

MEAN, COVARIANCE = gaussian.MEAN.double(), gaussian.COVARIANCE.double()


def gaussian_field(mean: Tensor, covariance: Tensor) -> Velocity:
    """E[z_1 - z_0 | z_t] in closed form: what a perfect network would say of the Gaussian target."""
    identity = torch.eye(len(mean), dtype=mean.dtype)

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        t = t[0].double()
        gain = (t * covariance - (1 - t) * identity) @ torch.linalg.inv((1 - t) ** 2 * identity + t**2 * covariance)
        return mean + (z - t * mean) @ gain.T

    return velocity


def solve(velocity: Velocity, num_steps: int, solver: str) -> tuple[float, float]:
    """Errors of mean and covariance of the samples, in percent."""
    z_0 = gaussian.noise(20_000, torch.Generator().manual_seed(0)).double()
    return gaussian.errors(sample_ode(velocity, z_0, time_grid(num_steps), solver), MEAN, COVARIANCE)


def test_the_path_is_straight_and_its_velocity_is_its_derivative():
    z_0, z_1, t = torch.randn(3, 5, 2), torch.randn(3, 5, 2), torch.tensor([0.0, 0.3, 1.0])
    point, later = path_sample(z_0, z_1, t), path_sample(z_0, z_1, t + 0.125)
    assert torch.equal(point.z_t[0], z_0[0])
    assert torch.equal(point.z_t[2], z_1[2])
    torch.testing.assert_close(later.z_t - point.z_t, 0.125 * point.velocity)


@pytest.mark.parametrize(("solver", "tolerance"), [("ab2", 0.1), ("midpoint", 0.1), ("heun", 0.1)])
def test_fifty_steps_give_a_gaussian_its_mean_and_covariance(solver: str, tolerance: float):
    mean, covariance = solve(gaussian_field(MEAN, COVARIANCE), 50, solver)
    assert mean < tolerance
    assert covariance < tolerance


def test_euler_gives_the_mean_but_too_little_spread():
    """Why it is not the default: fifty steps lose 5 % of the covariance of any Gaussian of unit scale, however good the
    field is. The others lose nothing that can be seen at as many forwards."""
    field = gaussian_field(MEAN, COVARIANCE)
    mean, covariance = solve(field, 50, "euler")
    assert mean < 1e-6
    assert 4 < covariance < 6
    assert solve(field, 200, "euler")[1] < 1.5
    assert solve(field, 25, "midpoint")[1] < 0.1
    assert solve(field, 2, "midpoint")[1] < 8 < 40 < solve(field, 4, "euler")[1]


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("ab2", 2), ("midpoint", 2), ("heun", 2)])
def test_order_of_convergence(solver: str, order: int):
    """dz/dt = -2 t z^2 from z(0) = 1 ends at z(1) = 1/2."""

    def error(num_steps: int) -> float:
        grid = time_grid(num_steps).double()
        z = sample_ode(lambda z, t: -2 * t[:, None] * z**2, torch.ones(1, 1).double(), grid, solver)
        return abs(z.item() - 0.5)

    assert math.log2(error(64) / error(128)) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("jumps", "order"), [((), 1), ((0.9,), 2)])
def test_adams_bashforth_keeps_its_order_where_the_field_jumps(jumps: tuple[float, ...], order: int):
    """dz/dt = -z, and -3 z from t = 0.9 on, as where guidance ends: z(1) = exp(-1.2)."""

    def error(num_steps: int) -> float:
        def velocity(z: Tensor, t: Tensor) -> Tensor:
            return -(1 + 2 * reached(t, 0.9))[:, None] * z

        grid = time_grid(num_steps).double()
        return abs(sample_ode(velocity, torch.ones(1, 1).double(), grid, "ab2", jumps).item() - math.exp(-1.2))

    assert math.log2(error(400) / error(800)) == pytest.approx(order, abs=0.1)


def test_an_interval_holds_its_beginning_and_not_its_end():
    """Whatever the rounding of a grid: 0.2 is 0.19999999 where there are 50 steps."""
    for num_steps in (10, 20, 40, 50, 100):
        grid = time_grid(num_steps)
        inside = [step for step in range(num_steps + 1) if within(grid[step], (0.2, 0.9))]
        assert inside == list(range(num_steps // 5, 9 * num_steps // 10))


def test_a_prior_added_to_a_field_that_was_fitted_alone_overshoots():
    """Why the loss is on the sum: v + lambda(t) v_prior is the wrong field where v alone is right already."""
    alone = gaussian_field(MEAN, COVARIANCE)
    mean, covariance = solve(lambda z, t: alone(z, t) + 0.1 * (1 - t[:, None]) * alone(z, t), 50, "midpoint")
    assert mean > 5
    assert covariance > 2


@pytest.mark.parametrize(("prior_type", "lambda_prior"), [("none", 0.0), ("simple", 0.1)])
def test_a_trained_field_gives_a_gaussian_its_mean_and_covariance(prior_type: str, lambda_prior: float):
    """Within 8 % after seconds of training; benchmarks/gaussian.py trains longer, to within 2 %."""
    model = gaussian.train(prior_type, lambda_prior, num_updates=300)
    mean, covariance = gaussian.errors(gaussian.sample(model, 50, DEFAULT_SOLVER, count=2000))
    assert mean < 5
    assert covariance < 8


# ---- what prior and guidance add -------------------------------------------------------------------------------------


@pytest.fixture
def matcher() -> LatentFlowMatcher:
    """A matcher with prior and sync head whose every weight is random, so that no part of it is silent."""
    torch.manual_seed(0)
    model = LatentFlowMatcher(
        FlowConfig(
            latent_dim=4,
            hidden_dim=16,
            num_layers=2,
            num_heads=2,
            cond_dim=8,
            temporal_stride=2,
            prior_type="simple",
            prior_hidden_dim=16,
            prior_layers=1,
            lambda_prior=0.3,
            use_sync_guidance=True,
        )
    )
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.sync_head.target_correlation.fill_(0.9)
    return model.eval().requires_grad_(False)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z_t, text, mask of text, mask of latents, of two clips, the second shorter."""
    torch.manual_seed(1)
    cond_mask, mask = lengths_to_mask(torch.tensor([5, 3])), lengths_to_mask(torch.tensor([9, 6]))
    return torch.randn(2, 9, 4) * mask[..., None], torch.randn(2, 5, 8), cond_mask, mask


At = Callable[[float], Tensor]


@pytest.fixture
def parts(matcher: LatentFlowMatcher, inputs: tuple[Tensor, ...]) -> tuple[At, At, At]:
    """v_flow with the text, v_flow without it, and v_prior, as functions of t."""
    z_t, cond, cond_mask, mask = inputs
    nothing = matcher.drop_text(cond, cond_mask, torch.ones(2, dtype=torch.bool))

    def flow(t: float, *text: Tensor) -> Tensor:
        return matcher.velocity_net(z_t, torch.full((2,), t), matcher.velocity_net.context(*text, mask))

    return (
        lambda t: flow(t, cond, cond_mask),
        lambda t: flow(t, *nothing),
        lambda t: matcher.prior(z_t, torch.full((2,), t), mask),
    )


@pytest.mark.parametrize("t", [0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize(("scale", "start"), [(1.0, 0.2), (0.0, 0.2), (2.5, 0.2), (2.5, 0.0)])
@pytest.mark.parametrize(("guidance_from", "gamma_unit"), list(zip(UNCONDITIONAL, GAMMA_UNITS, strict=True)))
def test_the_sampled_field_is_the_sum_that_the_design_writes(
    matcher, inputs, parts, t: float, scale: float, start: float, guidance_from: str, gamma_unit: str
):
    gamma = {"field": 0.2, "gradient": 5.0}[gamma_unit]
    matcher.config = dataclasses.replace(
        matcher.config, guidance_start=start, guidance_from=guidance_from, gamma_unit=gamma_unit, gamma_guidance=gamma
    )
    z_t, cond, cond_mask, mask = inputs
    with_text, without_text, prior = (part(t) for part in parts)
    free = scale <= 1.0 or start <= t < TEXT_GUIDANCE_END
    scale_here = scale if free else 1.0
    drift = 0.3 * (1 - t) * prior
    without = prior if guidance_from == "prior" else without_text + drift
    expected = without + scale_here * (with_text + drift - without)
    time = torch.full((2,), t)
    if SYNC_INTERVAL[0] <= t < SYNC_INTERVAL[1]:
        gradient = sync_gradient(matcher.sync_head, z_t, time, expected, mask, in_units_of_field=gamma_unit == "field")
        assert gradient.abs().max() > 1e-4
        expected = expected - gamma * gradient
    settings = matcher.resolve(SamplingSettings(guidance_scale=scale))
    sampled = matcher.guided_field(cond, cond_mask, mask, settings)(z_t, time)
    asked = SamplingSettings(
        guidance_scale=scale,
        guidance_start=start if scale > 1 else None,
        guidance_from=guidance_from if scale != 1 else None,
        gamma_guidance=gamma,
    )
    matcher.config = dataclasses.replace(matcher.config, guidance_start=0.5, guidance_from="prior", gamma_guidance=0.0)
    again = matcher.guided_field(cond, cond_mask, mask, matcher.resolve(asked))(z_t, time)
    torch.testing.assert_close(again, sampled)
    torch.testing.assert_close(sampled, expected, rtol=1e-5, atol=3e-5)  # gamma 5 magnifies the rounding of a product


@pytest.fixture
def around_mean(matcher: LatentFlowMatcher) -> LatentFlowMatcher:
    """A matcher whose trajectories start around the mean of their text, every weight of it random."""
    torch.manual_seed(2)
    model = LatentFlowMatcher(dataclasses.replace(matcher.config, start="mean", start_layers=1))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False)


def test_a_trajectory_may_start_around_the_mean_of_its_text(around_mean, inputs):
    _, cond, cond_mask, mask = inputs
    settings = around_mean.resolve(SamplingSettings(num_steps=2, guidance_scale=1.0))
    mean = around_mean.mean(cond, cond_mask, mask)
    assert mean[mask].abs().min() > 0
    z_0 = sample_noise([5, 6], [9, 6], 4) + mean
    velocity = around_mean.guided_field(cond, cond_mask, mask, settings)
    expected = sample_ode(velocity, z_0, time_grid(2), settings.solver)
    torch.testing.assert_close(around_mean.sample(cond, cond_mask, mask, [5, 6], settings), expected)
    alone = around_mean.sample(cond[1:, :3], cond_mask[1:, :3], mask[1:, :6], [6], settings)
    torch.testing.assert_close(alone, expected[1:, :6])  # whatever its batch


def test_the_mean_is_learnt_from_texts_and_the_flow_does_not_move_it(around_mean, inputs):
    z_1, cond, cond_mask, mask = inputs
    around_mean.requires_grad_(True)
    losses = around_mean.loss(z_1, mask, cond, cond_mask, Draws.of("ab"), torch.tensor([True, False]))
    parameter = around_mean.mean.out.weight
    of_mean, *_ = torch.autograd.grad(losses["mean"], parameter, retain_graph=True)
    of_all, *_ = torch.autograd.grad(losses["loss"], parameter)
    torch.testing.assert_close(of_all, of_mean)
    other = torch.where(torch.tensor([False, True])[:, None, None], z_1 + 1, z_1)  # of the clip without a text
    changed = around_mean.loss(other, mask, cond, cond_mask, Draws.of("ab"), torch.tensor([True, False]))
    torch.testing.assert_close(changed["mean"], losses["mean"])


def test_a_student_starts_where_its_teacher_does(around_mean, inputs):
    _, cond, cond_mask, mask = inputs
    student = Student(StudentConfig.of_teacher(around_mean.config, 2)).eval()
    student.start_from(around_mean)
    torch.testing.assert_close(student.mean(cond, cond_mask, mask), around_mean.mean(cond, cond_mask, mask))
    assert not any(parameter.requires_grad for parameter in student.mean.parameters())


def test_guidance_without_a_prior_leads_away_from_the_null_text():
    assert FlowConfig(prior_type="simple").guidance_from == "prior"
    assert FlowConfig(prior_type="none").guidance_from == "null_text"


def test_settings_say_how_guidance_acts(matcher):
    """A record names the settings, so these must not name a guidance that no step has felt."""
    matcher.config = dataclasses.replace(matcher.config, guidance_start=0.2)

    def resolved(*asked: object, **more: object) -> tuple[float, float]:
        settings = matcher.resolve(SamplingSettings(*asked, **more))
        return settings.guidance_scale, settings.guidance_start

    assert resolved(50, 2.5) == (2.5, 0.2)
    assert resolved(50, 0.5) == resolved(50, 0.5, 0.0) == (0.5, 0.0)  # a scale below 1 acts throughout
    assert resolved(50, 1.0) == (1.0, 0.0)
    with pytest.raises(SettingRefused, match=r"guidance_start 0\.4: a guidance scale of 0\.5 has no beginning"):
        resolved(50, 0.5, 0.4)
    assert resolved(1) == (1.0, 0.0)  # its only step begins at t = 0
    assert resolved(1, guidance_start=0.0)[1] == 0
    assert resolved(1, 2.5, solver="midpoint") == (2.5, 0.2)
    with pytest.raises(SettingRefused, match=r"guidance_scale 3: .* from 0\.2 to 0\.9, and none of 1 steps lies there"):
        resolved(1, 3.0)
    with pytest.raises(SettingRefused, match=r"guidance_start 0\.8: .* and none of 4 steps lies there"):
        resolved(4, 2.5, 0.8)
    assert matcher.resolve(SamplingSettings(50, 0.5, guidance_from="null_text")).guidance_from == "null_text"
    with pytest.raises(SettingRefused, match="guidance_from null_text: a guidance scale of 1 leads away from nothing"):
        resolved(50, 1.0, guidance_from="null_text")
    with pytest.raises(SettingRefused, match=r"guidance_from prior: .* from 0\.2 to 0\.9, and none of 1 steps lies"):
        resolved(1, guidance_from="prior")


def test_guidance_that_a_flow_cannot_follow_is_named(matcher):
    asked = SamplingSettings(guidance_start=0.4, guidance_from="null_text", gamma_guidance=0.3)
    settings = matcher.resolve(asked)
    assert (settings.guidance_start, settings.guidance_from, settings.gamma_guidance) == (0.4, "null_text", 0.3)
    with pytest.raises(ValueError, match=r"guidance_start 0\.9: guidance by the text ends at 0\.9"):
        matcher.resolve(SamplingSettings(guidance_start=0.9))
    with pytest.raises(ValueError, match="guidance_start 1: guidance by the text ends"):
        FlowConfig(guidance_start=1.0)
    assert matcher.resolve(SamplingSettings(use_sync_guidance=False)).gamma_guidance == 0
    with pytest.raises(ValueError, match="gamma_guidance: this flow has no sync guidance, or it is switched off"):
        matcher.resolve(SamplingSettings(use_sync_guidance=False, gamma_guidance=0.3))
    assert matcher.resolve(SamplingSettings(num_steps=1)).gamma_guidance == 0  # the only step begins at t = 0
    with pytest.raises(
        ValueError, match=r"gamma_guidance 0\.3: sync guidance acts from 0\.2 to 0\.8, and none of 1 steps"
    ):
        matcher.resolve(SamplingSettings(num_steps=1, gamma_guidance=0.3))
    plain = LatentFlowMatcher(FlowConfig(latent_dim=4, hidden_dim=16, num_layers=1, num_heads=2, cond_dim=8))
    with pytest.raises(ValueError, match="guidance_from prior: this flow has no prior"):
        plain.resolve(SamplingSettings(guidance_from="prior"))
    student = Student(StudentConfig.of_teacher(matcher.config, 1))
    assert student.resolve(SamplingSettings(guidance_from="prior")).guidance_from == "prior"
    with pytest.raises(ValueError, match=r"gamma_guidance 0\.3: the checkpoint was trained with 0\.01"):
        student.resolve(SamplingSettings(gamma_guidance=0.3))


def test_the_loss_fits_the_field_that_is_sampled(matcher, inputs):
    z_1, cond, cond_mask, mask = inputs
    losses = matcher.loss(z_1, mask, cond, cond_mask, Draws.of("ab"))
    draws = Draws.of("ab")
    z_0 = draws.normal(*z_1.shape[1:])
    t = torch.sigmoid(draws.normal())
    point = path_sample(z_0, z_1, t)
    v_flow = matcher.velocity_net(point.z_t, t, matcher.velocity_net.context(cond, cond_mask, mask))
    v_prior = matcher.prior(point.z_t, t, mask)
    error = (v_flow + matcher.prior_weight(t, z_1) * v_prior - point.velocity)[mask]
    torch.testing.assert_close(losses["flow"], (error**2).mean())
    prior_error = (v_prior - point.velocity)[mask]
    torch.testing.assert_close(losses["prior"], (prior_error**2).mean())
    assert losses["closeness"] == 0  # with the text, L_prior would pull it towards the mean of all texts


def test_sync_guidance_goes_downhill_on_the_predicted_clean_latent(matcher, inputs):
    z_t, _, _, mask = inputs
    t, velocity = torch.full((2,), 0.5), torch.randn(z_t.shape)
    gradient = sync_gradient(matcher.sync_head, z_t, t, velocity, mask, in_units_of_field=False)
    clean = (z_t + 0.5 * velocity).double()
    matcher.sync_head.double()
    step = torch.randn(z_t.shape, dtype=torch.float64) * mask[..., None]
    slope = (sync_loss(matcher.sync_head, clean + 1e-5 * step, mask) - sync_loss(matcher.sync_head, clean, mask)) / 1e-5
    torch.testing.assert_close((gradient.double() * step).sum((1, 2)), slope, rtol=1e-3, atol=1e-5)
    assert not gradient[~mask].any()
    for outside in (0.1, 0.9):
        at = torch.full((2,), outside)
        assert not sync_gradient(matcher.sync_head.float(), z_t, at, velocity, mask, in_units_of_field=True).any()


def test_sync_guidance_is_a_share_of_the_field_whatever_the_length(matcher):
    """It points where the gradient does; its norm is the field's times the distance from the target, at most 1."""
    torch.manual_seed(2)
    lengths = torch.tensor([5, 40, 400])
    mask, t = lengths_to_mask(lengths), torch.full((3,), 0.5)
    z_t, velocity = torch.randn(3, 400, 4), torch.randn(3, 400, 4)
    bare, scaled = (
        sync_gradient(matcher.sync_head, z_t, t, velocity, mask, in_units_of_field=scaled) for scaled in (False, True)
    )
    distance = sync_loss(matcher.sync_head, z_t + 0.5 * velocity, mask).sqrt().clamp(max=1)
    for row, length in enumerate(lengths.tolist()):
        field, push = velocity[row, :length].norm(), scaled[row, :length].norm()
        assert push / field == pytest.approx(distance[row].item(), rel=1e-4)
        assert torch.cosine_similarity(bare[row].flatten(), scaled[row].flatten(), dim=0) == pytest.approx(1, abs=1e-5)
    assert distance.min() > 0.1
    assert not scaled[~mask].any()


def test_noise_depends_on_its_seed_alone():
    noise = sample_noise([7, 8, 7], [3, 5, 4], dim=2)
    assert noise.shape == (3, 5, 2)
    assert torch.equal(noise[0, :3], noise[2, :3])
    assert not noise[0, 3:].any()
    assert torch.equal(noise[1], sample_noise([8], [5], dim=2)[0])
