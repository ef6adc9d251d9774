"""What the sync head learns from: the motion that was seen, and none where it was not."""

import numpy as np
import pytest
import torch

from models.layers import lengths_to_mask
from models.sync_guidance import SyncConfig, SyncGuidanceHead, pearson, sync_loss
from poses import layout
from poses.pack import Pack, write_pack
from poses.statistics import Statistics
from runtime.errors import UserError
from training.latents import energies, set_sync_targets


@pytest.fixture
def head() -> SyncGuidanceHead:
    torch.manual_seed(0)
    return SyncGuidanceHead(SyncConfig(latent_dim=4, hidden_dim=16))


@pytest.fixture
def pack_of(tmp_path):
    def make(*clips: np.ndarray) -> Pack:
        items = ((str(number), "a", {"energy": clip.astype(np.float32)}) for number, clip in enumerate(clips))
        return write_pack(tmp_path / "pack", items)

    return make


def moving(frames: int = 40, seed: int = 0) -> np.ndarray:
    """Energies of hands and face that rise and fall together, more or less."""
    hands = np.random.default_rng(seed).uniform(0.5, 1.5, (2, frames))
    return np.stack([hands[0], 0.6 * hands[0] + 0.4 * hands[1]], axis=1)


def test_energy_is_unknown_where_nothing_was_seen(statistics: Statistics):
    pose = np.random.default_rng(0).uniform(0.3, 0.7, (12, layout.POSE_DIM))
    seen = np.ones(pose.shape, bool)
    seen[4:8, layout.NMM] = False
    energy = energies(pose, seen, statistics)
    assert np.isfinite(energy[:, 0]).all()
    assert np.flatnonzero(np.isnan(energy[:, 1])).tolist() == [4, 5, 6, 7, 8]
    assert np.isnan(energies(pose[:1], seen[:1], statistics)).all()


def test_a_detectors_noise_is_hardly_energy(statistics: Statistics):
    """A hand that goes to and fro in 20 frames, and noise of a tenth of its steps' size in every frame."""
    rng, time = np.random.default_rng(0), np.arange(60)
    still = np.full((60, layout.POSE_DIM), 0.5)
    moved = still + 0.1 * np.sin(2 * np.pi * time / 20)[:, None]
    noise = 0.003 * rng.normal(size=still.shape)
    seen = np.ones(still.shape, bool)
    of_noise, of_motion, of_both = (
        energies(pose, seen, statistics)[4:-4, 0] for pose in (still + noise, moved, moved + noise)
    )
    assert of_noise.mean() < 0.05 * of_motion.mean()
    assert np.corrcoef(of_motion, of_both)[0, 1] > 0.99


@pytest.mark.parametrize("target", [0.0, 0.5])
def test_guidance_pulls_the_correlation_to_its_target_and_leaves_the_lag(head, target: float):
    """Steps down L_sync bring the correlation to the target, from above or below; earlier flows pull the lag, too."""
    head.target_correlation.fill_(target)
    z, mask = torch.randn(8, 12, 4), torch.ones(8, 12, dtype=torch.bool)

    def correlation() -> torch.Tensor:
        energy = head(z, mask)
        return pearson(energy[..., 0], energy[..., 1], mask)

    z.requires_grad_()
    for _ in range(300):
        (gradient,) = torch.autograd.grad(sync_loss(head, z, mask).sum(), z)
        z.data -= 5 * gradient
    torch.testing.assert_close(correlation(), torch.full((8,), target), rtol=0, atol=0.02)
    early = SyncGuidanceHead(SyncConfig(latent_dim=4, hidden_dim=16, pulls_lag=True))
    early.load_state_dict(head.state_dict())
    assert (sync_loss(early, z, mask) > sync_loss(head, z, mask)).all()


def test_what_was_not_seen_weighs_nothing(head):
    z, mask = torch.randn(2, 9, 4), lengths_to_mask(torch.tensor([9, 6]))
    energy = torch.rand(2, 9, 2)
    seen = mask.clone()
    seen[0, 3:5] = False
    unknown = energy.masked_fill(~seen[..., None], torch.nan)
    torch.testing.assert_close(head.loss(z, mask, unknown, mask), head.loss(z, mask, energy, seen))
    unknown = energy.clone()
    unknown[..., 1] = torch.nan
    head.loss(z, mask, unknown, mask).backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
    assert head.out.weight.grad[0].abs().max() > 0
    assert not head.out.weight.grad[1].any()  # of the face


def test_the_target_is_that_of_the_frames_that_show_both(head, pack_of):
    clip = moving()
    gap = np.full((10, 2), np.nan)
    gap[:, 0] = 0.9  # hands that move while no face is seen
    set_sync_targets(head, pack_of(np.concatenate([clip[:20], gap, clip[20:]])))
    assert float(head.target_correlation) == pytest.approx(np.corrcoef(clip.T)[0, 1], abs=1e-6)
    assert float(head.energy_scale[1]) == pytest.approx(clip[:, 1].mean())
    assert float(head.energy_scale[0]) == pytest.approx((clip[:, 0].sum() + 9) / 50)


def test_data_without_a_face_teach_no_synchrony(head, pack_of):
    clip = moving()
    clip[:, 1] = np.nan
    with pytest.raises(UserError, match="leave --use_sync_guidance out"):
        set_sync_targets(head, pack_of(clip, moving(1) * np.nan))
