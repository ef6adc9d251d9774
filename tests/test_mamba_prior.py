"""The state space priors: the scan against its reference, weights against transformers' Mamba, padding, directions."""

import sys
import types
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer as TransformersMixer

from models import mamba_prior, mamba_scan
from models.mamba_prior import (
    BidirectionalS4D,
    MambaMixer,
    PriorConfig,
    SSMPrior,
    build_prior,
    resolve_prior_type,
    reverse_valid,
)
from models.mamba_scan import selective_scan, selective_scan_reference

BLOCK_SIZES = (1, 2**8, 2**19)  # several clips and lengths a block, with a shorter last one, or all in one


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def scan_inputs(b: int, length: int, d: int, n: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    u, B, C = (torch.randn(b, length, width, dtype=dtype) for width in (d, n, n))
    delta, A = torch.rand(b, length, d, dtype=dtype), -torch.rand(d, n, dtype=dtype) - 0.1
    return tuple(x.requires_grad_() for x in (u, delta, A, B, C))


def trained(prior_type: str, seed: int = 0) -> SSMPrior:
    """A small prior whose zero-initialised layers hold something, as after training."""
    torch.manual_seed(seed)
    prior = build_prior(PriorConfig(prior_type, latent_dim=6, hidden_dim=16, num_layers=2, d_state=4))
    for layer in (prior.output, prior.adapt, *(block.adapt for block in prior.blocks)):
        nn.init.normal_(layer.weight, std=0.3)
    return prior


def batch(lengths: list[int], T: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    z_t, t = torch.randn(len(lengths), T, 6, generator=generator), torch.rand(len(lengths), generator=generator)
    return z_t, t, torch.arange(T)[None] < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("elements", BLOCK_SIZES)
def test_scan_equals_reference(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(mamba_scan, "BUFFER_ELEMENTS", elements)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        inputs = scan_inputs(5, 37, 6, 3, dtype)
        weight = torch.randn(5, 37, 6, dtype=dtype)
        got, expected = selective_scan(*inputs), selective_scan_reference(*inputs)
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
        for g, e in zip(*(torch.autograd.grad((y * weight).sum(), inputs) for y in (got, expected)), strict=True):
            torch.testing.assert_close(g, e, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("elements", BLOCK_SIZES)
def test_scan_gradcheck(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(mamba_scan, "BUFFER_ELEMENTS", elements)
    monkeypatch.setattr(mamba_scan, "MIN_BLOCK_STEPS", 3)
    assert torch.autograd.gradcheck(selective_scan, scan_inputs(2, 7, 3, 2, torch.float64))


def test_weights_go_to_and_from_transformers() -> None:
    config = MambaConfig(hidden_size=32, state_size=16, conv_kernel=4, expand=2, time_step_rank=2, num_hidden_layers=1)
    theirs, ours, x = TransformersMixer(config, layer_idx=0).eval(), MambaMixer(32), torch.randn(3, 29, 32)
    with torch.no_grad():
        ours.load_state_dict(theirs.state_dict(), strict=True)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
        fresh = MambaMixer(32)
        theirs.load_state_dict(fresh.state_dict(), strict=True)
        torch.testing.assert_close(fresh(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_kernel_call_is_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """mamba-ssm's fused function, written out after its signature, given what `_forward_kernel` gives it."""

    def mamba_inner_fn(xz, conv_w, conv_b, x_w, dt_w, out_w, out_b, A, B, C, D, delta_bias, delta_softplus):
        assert (out_b, B, C, delta_softplus) == (None, None, None, True)
        u, gate = xz.chunk(2, dim=1)  # [b,d,l]
        u = F.silu(F.conv1d(u, conv_w, conv_b, padding=3, groups=u.shape[1])[..., : xz.shape[-1]]).transpose(1, 2)
        r, B, C = F.linear(u, x_w).split([dt_w.shape[1], A.shape[1], A.shape[1]], dim=-1)
        y = selective_scan_reference(u, F.softplus(F.linear(r, dt_w) + delta_bias), A, B, C) + D * u
        return F.linear(y * F.silu(gate.transpose(1, 2)), out_w)

    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.mamba_inner_fn = mamba_inner_fn
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    mixer, x = MambaMixer(16), torch.randn(2, 11, 16)
    torch.testing.assert_close(mixer._forward_kernel(x), mixer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 13])
def test_s4d_is_a_two_sided_convolution(length: int) -> None:
    mixer = BidirectionalS4D(PriorConfig(hidden_dim=4, d_state=4)).double()
    x, mask = torch.randn(2, length, 4, dtype=torch.float64), torch.ones(2, length, dtype=torch.bool)
    u, gate = mixer.in_proj(x).chunk(2, dim=-1)
    u, (past, future) = F.silu(u), mixer.kernels(length)
    rate = torch.complex(-torch.exp(mixer.log_decay), mixer.frequency)[..., None] * torch.arange(length)
    torch.testing.assert_close(past, (torch.complex(*mixer.C)[..., None] * torch.exp(rate)).real.sum(2)[0])
    y = torch.zeros_like(u)
    for i in range(length):
        for j in range(length):
            y[:, i] += u[:, j] * (past[:, i - j] if j <= i else future[:, j - i])
    expected = mixer.out_proj((y + mixer.D * u) * F.silu(gate))
    torch.testing.assert_close(mixer(x, mask), expected)


def test_reverse_valid_leaves_padding() -> None:
    x = torch.arange(5.0).view(1, 5, 1)
    mask = torch.tensor([[True, True, True, False, False]])
    assert reverse_valid(x, mask).flatten().tolist() == [2, 1, 0, 3, 4]


@pytest.mark.parametrize("prior_type", ["mamba", "simple"])
def test_padding_changes_nothing(prior_type: str) -> None:
    """Outputs and gradients alike, however much padding there is and whatever stands in it."""
    prior, (z_t, t, mask) = trained(prior_type), batch([7, 12], 12)
    longer = torch.cat([z_t.masked_fill(~mask[:, :, None], torch.nan), torch.full((2, 9, 6), torch.nan)], dim=1)
    results = []
    for z, m in ((z_t, mask), (longer, F.pad(mask, (0, 9)))):
        z = z.clone().requires_grad_()
        v = prior(z, t, m)
        assert not v[~m].any()
        gradients = torch.autograd.grad(v.square().sum(), (z, *prior.parameters()))
        assert not gradients[0][~m].any()
        results.append((v[m], gradients[0][m], *gradients[1:]))
    torch.testing.assert_close(results[0][:1], results[1][:1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prior_type", ["mamba", "simple"])
def test_alone_as_in_a_batch(prior_type: str) -> None:
    prior, (z_t, t, mask) = trained(prior_type), batch([5, 12, 9], 12)
    together = prior(z_t, t, mask)
    for i, length in enumerate(mask.sum(1).tolist()):
        alone = prior(z_t[i : i + 1, :length], t[i : i + 1], mask[i : i + 1, :length])
        torch.testing.assert_close(alone[0], together[i, :length], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prior_type", ["mamba", "simple"])
def test_every_frame_sees_the_whole_clip(prior_type: str) -> None:
    prior, (z_t, t, mask) = trained(prior_type), batch([10], 14)
    z_t.requires_grad_()
    for i in range(10):
        (gradient,) = torch.autograd.grad(prior(z_t, t, mask)[0, i].sum(), z_t)
        assert (gradient[0, :10].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("prior_type", ["mamba", "simple"])
def test_starts_at_zero_depends_on_time_and_runs_in_half_precision(prior_type: str) -> None:
    z_t, t, mask = batch([10, 14], 14)
    assert not build_prior(PriorConfig(prior_type, latent_dim=6, hidden_dim=16, num_layers=1))(z_t, t, mask).any()
    prior = trained(prior_type)
    v = prior(z_t, t, mask)
    assert not torch.allclose(v, prior(z_t, t + 0.2, mask))
    with torch.autocast("cpu", torch.bfloat16):
        half = prior(z_t, t, mask)
        half.float().square().mean().backward()
    torch.testing.assert_close(half.float(), v, rtol=0.1, atol=0.1 * v.abs().max().item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in prior.parameters())


def test_prior_type(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, expected in ((True, "mamba"), (False, "simple")):
        monkeypatch.setattr(mamba_prior, "mamba_kernels_available", lambda available=available: available)
        assert resolve_prior_type("auto") == expected
    assert [resolve_prior_type(name) for name in ("mamba", "simple")] == ["mamba", "simple"]
    with pytest.raises(ValueError, match="transformer"):
        resolve_prior_type("transformer")
