"""Stage 1: latents that know nothing of padding, hands that hang on their wrists, and silence about what was unseen."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from models.autoencoder import (
    INITIAL_LATENT_NOISE,
    MAX_LATENT_NOISE,
    AutoencoderConfig,
    PoseAutoencoder,
    presence_by_number,
)
from models.autoencoder_loss import AutoencoderLoss
from models.hands import HandFrame
from models.layers import lengths_to_mask
from models.whole_batch import Draws, WholeBatch, part_of
from poses import layout
from poses.body_frame import AXIS, PLACE_DIM, SHOULDER_DIMS, into_frame, place_of
from poses.presence import NUM_ARTICULATORS, decoded_presence
from poses.statistics import Statistics, compute_statistics, hands_minus_wrists


def make_model(
    statistics: Statistics, stride: int = 1, seed: int = 0, moved: float = 0.1, **more: float
) -> PoseAutoencoder:
    """A small autoencoder whose every weight is random, the output layers included, which start at zero."""
    torch.manual_seed(seed)
    model = PoseAutoencoder(AutoencoderConfig(9, 16, 2, 1, 1, 1, 1, temporal_stride=stride, **more), statistics)
    for parameter in model.parameters():
        parameter.data += moved * torch.randn_like(parameter)
    return model.eval()


def draw(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised clips [B,T,214] with nonsense in the padding, what is there of each frame [B,T,3], and their mask."""
    generator = torch.Generator().manual_seed(seed)
    mask = lengths_to_mask(torch.tensor(lengths))
    pose = torch.randn(*mask.shape, layout.POSE_DIM, generator=generator)
    present = torch.rand(*mask.shape, NUM_ARTICULATORS, generator=generator) < 0.7
    return torch.where(mask[..., None], pose, 1e3), present, mask


@pytest.mark.parametrize("stride", [1, 2, 4])
@torch.no_grad()
def test_padding_and_batch_change_no_latent_and_no_frame(stride: int, statistics: Statistics):
    model, lengths = make_model(statistics, stride), [1, 2, 3, 5, 7, 12, 13]
    pose, present, mask = draw(lengths)
    z = model.encode(pose, present, mask)
    latent_mask = model.latent_mask(mask)
    decoded = model.decode(torch.where(latent_mask[..., None], z, 1e3), mask)
    for row, length in enumerate(lengths):
        number = -(-length // stride)
        assert latent_mask[row].tolist() == [True] * number + [False] * (z.shape[1] - number)
        assert model.num_latents(length) == number
        alone, whole = pose[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool)
        z_alone = model.encode(alone, present[row : row + 1, :length], whole)
        torch.testing.assert_close(z[row, :number], z_alone[0], rtol=0, atol=1e-5)
        for part, part_alone in zip(decoded, model.decode(z_alone, whole), strict=True):
            torch.testing.assert_close(part[row, :length], part_alone[0], rtol=0, atol=1e-4)
        assert not decoded.pose[row, length:].any()


@torch.no_grad()
def test_nothing_of_what_is_absent_is_read_and_its_absence_is(statistics: Statistics):
    model, (pose, present, mask) = make_model(statistics), draw([9, 6])
    z = model.encode(pose, present, mask)
    nonsense = torch.where(presence_by_number(present), pose, -77.0)
    torch.testing.assert_close(model.encode(nonsense, present, mask), z, rtol=0, atol=0)
    for articulator in range(NUM_ARTICULATORS):
        other = present.clone()
        other[..., articulator] ^= True
        assert (model.encode(pose, other, mask) - z).abs().max() > 1e-3


@pytest.mark.parametrize("stride", [1, 2, 4])
@torch.no_grad()
def test_presence_goes_through_the_latents_to_the_frame(stride: int, statistics: Statistics):
    """Whatever the weights: a hand that comes or goes at a frame does so there, the clip's first and last but one."""
    model, frames = make_model(statistics, stride), 27
    pose, _, mask = draw([frames] * (frames - 3))
    present = torch.ones(*mask.shape, NUM_ARTICULATORS, dtype=torch.bool)
    for row in range(len(mask)):
        present[row, : row + 2, 0] = present[row, row + 2 :, 1] = False  # the left hand comes when the right one goes
        present[row, :, 2] = row % 2 == 0
    decoded = model.decode(model.encode(pose, present, mask), mask).presence > 0.5
    wrong = decoded != present
    assert not wrong[:, stride:-stride].any()
    assert wrong.float().mean() < 0.005


@torch.no_grad()
def test_presence_of_a_generated_clip_does_not_flicker_by_a_little_noise(statistics: Statistics):
    model, (pose, _, mask) = make_model(statistics, 4), draw([40])
    present = torch.ones(1, 40, NUM_ARTICULATORS, dtype=torch.bool)
    present[:, :16, 0] = False
    z = model.encode(pose, present, mask)
    z += 0.15 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    there = decoded_presence(model.decode(z, mask).presence[0].numpy())
    assert np.abs(np.diff(there.astype(int), axis=0)).sum(0).tolist() == [1, 0, 0]
    assert (there != present[0].numpy()).sum() <= 2


@torch.no_grad()
def test_without_presence_all_is_there_always(statistics: Statistics):
    model = PoseAutoencoder(AutoencoderConfig(9, 16, 2, 1, 1, 1, 1, presence=False), statistics).eval()
    pose, present, mask = draw([9, 6])
    z = model.encode(pose, present, mask)
    torch.testing.assert_close(model.encode(pose, ~present, mask), z, rtol=0, atol=0)
    assert (model.decode(z, mask).presence == 1).all()


def elsewhere(pose: Tensor, statistics: Statistics, scale: float, move: tuple[float, float]) -> Tensor:
    """The same clips from another camera: larger by `scale` and moved by `move`, in data units."""
    data = statistics.denormalize(pose.numpy())
    data[..., layout.MANUAL] = scale * data[..., layout.MANUAL] + np.array(move, np.float32)[AXIS]
    return torch.from_numpy(statistics.normalize(data))


@pytest.mark.parametrize("stride", [1, 4])
@torch.no_grad()
def test_where_a_body_stands_changes_its_place_and_nothing_else(stride: int, statistics: Statistics):
    """Whatever the weights: a clip from another camera has the same latents but for its place, and decodes there."""
    model, (pose, present, mask) = make_model(statistics, stride), draw([9, 6])
    moved = elsewhere(pose, statistics, 1.3, (0.2, -0.1))
    z, z_moved = (model.encode(clip, present, mask) for clip in (pose, moved))
    latents = model.latent_mask(mask)
    torch.testing.assert_close(z_moved[..., :-PLACE_DIM][latents], z[..., :-PLACE_DIM][latents], rtol=0, atol=1e-3)
    assert ((z_moved - z)[latents][:, -PLACE_DIM:].abs() > 0.1).all()
    decoded, decoded_moved = (model.decode(latent, mask).pose for latent in (z, z_moved))
    expected = elsewhere(decoded, statistics, 1.3, (0.2, -0.1))
    torch.testing.assert_close(decoded_moved[mask], expected[mask], rtol=0, atol=1e-2)


@torch.no_grad()
def test_a_clip_has_one_body_whatever_its_latents_say(statistics: Statistics):
    """Latents that each name another place: the clip stands at their mean, from the first frame to the last."""
    model, (pose, present, mask) = make_model(statistics), draw([9, 6])
    z = model.encode(pose, present, mask)
    noise = torch.randn(*z.shape[:2], PLACE_DIM, generator=torch.Generator().manual_seed(3))
    latents = model.latent_mask(mask)[..., None]
    noise -= (noise * latents).sum(1, keepdim=True) / latents.sum(1, keepdim=True)
    noisy = z.clone()
    noisy[..., -PLACE_DIM:] += noise
    torch.testing.assert_close(model.decode(noisy, mask).pose, model.decode(z, mask).pose, rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_body_frame_is_the_shoulders_of_the_clip(statistics: Statistics):
    """What the network sees, computed once more in data units; and no frame of before changes a latent."""
    model, (pose, _, mask) = make_model(statistics), draw([9, 6])
    framed, place = model.to_body_frame(pose, mask)
    for row, length in enumerate([9, 6]):
        data = statistics.denormalize(pose[row, :length].numpy()).astype(np.float64)
        of_clip = place_of(data)
        shoulders = data[:, SHOULDER_DIMS].reshape(-1, 2, 2)
        np.testing.assert_allclose(of_clip[:2], shoulders.mean((0, 1)), rtol=1e-6)
        np.testing.assert_allclose(
            place[row].numpy() * statistics.framed.place_std + statistics.framed.place_mean, of_clip, rtol=1e-4
        )
        expected = (into_frame(data, of_clip) - statistics.framed.mean) / statistics.framed.std
        np.testing.assert_allclose(framed[row, :length].numpy(), expected, rtol=1e-3, atol=1e-3)
    config = AutoencoderConfig(9, 16, 2, 1, 1, 1, 1, body_frame=False)
    plain, nowhere = PoseAutoencoder(config, dataclasses.replace(statistics, framed=None)).to_body_frame(pose, mask)
    assert torch.equal(plain, pose)
    assert nowhere.shape == (2, 0)


def test_a_keypoint_that_a_clip_never_shows_does_not_tell_its_place(statistics: Statistics):
    model, (pose, _, mask) = make_model(statistics), draw([9, 6])
    pose[..., layout.keypoint_dims(np.array([layout.LEFT_HIP]))] = 0.0  # as `Statistics.normalize` leaves it
    framed, _ = model.to_body_frame(pose, mask)
    assert not framed[..., layout.keypoint_dims(np.array([layout.LEFT_HIP]))].any()


def test_who_turns_aside_or_shows_no_shoulder_is_not_magnified(statistics: Statistics):
    model, (pose, _, mask) = make_model(statistics), draw([9, 6])
    shoulders = (0.5 - statistics.mean[SHOULDER_DIMS]) / statistics.std[SHOULDER_DIMS]
    pose[..., SHOULDER_DIMS] = torch.from_numpy(shoulders)  # both at one point
    framed, place = model.to_body_frame(pose, mask)
    half = -np.log(2) / statistics.framed.place_std[2]
    assert place[:, 2].numpy() == pytest.approx(half, rel=1e-4)
    data = np.full((2, 9, layout.POSE_DIM), 0.5, np.float32) + 0.1 * np.random.default_rng(0).random((2, 9, 214))
    seen = np.ones(data.shape, bool)
    seen[..., SHOULDER_DIMS] = False
    data[~seen] = 0.0
    nobody = compute_statistics(zip(data, seen, strict=True), {})
    clips = torch.from_numpy(np.stack([nobody.normalize(*clip) for clip in zip(data, seen, strict=True)]))
    framed, _ = make_model(nobody).to_body_frame(clips, mask)
    assert framed.abs().max() < 10


def test_statistics_of_before_know_no_body_frame(statistics: Statistics):
    with pytest.raises(ValueError, match="know no body frame"):
        PoseAutoencoder(AutoencoderConfig(9, 16, 2, 1, 1, 1, 1), dataclasses.replace(statistics, framed=None))


@pytest.mark.parametrize("kept", [1.0, 0.9])
@pytest.mark.parametrize("level", [0.0, 0.2])
def test_latent_noise_is_in_standard_deviations_of_the_batch(
    level: float, kept: float, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
):
    """What the decoder gets: the posterior's noise and the added one, independent; the padding does not count."""
    model = make_model(statistics, 2, latent_noise=level, motion_kept=kept, moved=0.0)
    pose, present, mask = draw([60, 37])
    framed, _ = model.to_body_frame(pose, mask)
    mean, log_variance = model.posterior(framed, present, mask)
    latents, given = model.latent_mask(mask), []
    monkeypatch.setattr(model, "decode_levels", lambda z, mask: given.append(z[..., : model.config.learnt_dim]))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(4))
    begins_with = level or (INITIAL_LATENT_NOISE if kept < 1 else 0.0)
    assert float(model.latent_noise) == pytest.approx(begins_with)
    model(framed, present, mask, noise)
    expected = (log_variance.exp() + (begins_with * mean[latents].std(0, correction=0)) ** 2).sqrt()
    found = (given.pop() - mean) / noise
    torch.testing.assert_close(found[latents], expected[latents], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("kept", "lost"), [(1.0, -0.1), (0.9, 0.0), (0.5, 0.4)])
def test_the_noise_follows_from_the_motion_that_is_kept(
    kept: float, lost: float, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
):
    """More noise where the reconstruction moves more than it should, less where less; the loss itself is the same."""
    model, (pose, present, mask) = make_model(statistics, 2, motion_kept=0.9).train(), draw([60, 37] * 8)
    present[:], seen = True, torch.ones_like(pose, dtype=torch.bool)
    framed, _ = model.to_body_frame(pose, mask)
    rows = torch.tensor([3, 4])
    monkeypatch.setattr(Draws, "uniform", lambda self, *shape: 1 - torch.isin(torch.arange(16), rows).float())
    monkeypatch.setattr(model, "decode_without_dropout", lambda z, present, mask: kept * framed[rows])
    losses = AutoencoderLoss()(model, pose, seen, present, mask, Draws.of(list("abcdefghijklmnop")))
    losses["loss"].backward()
    moved = framed[rows].diff(dim=1).abs()[..., layout.HANDS]
    mean = moved[mask[rows][:, 1:]].mean()
    assert float(model.noise_level.grad) == pytest.approx(lost * float(mean), abs=1e-4)
    assert float(losses["latent_noise"]) == pytest.approx(float(model.latent_noise))

    loss = AutoencoderLoss()
    weights = {"reconstruction": 1, "hand_shape": loss.hand_shape_weight, "face": loss.face_weight}
    weights |= {"velocity": loss.velocity_weight, "coarse": loss.level_weight, "kl": loss.kl_weight}
    total = sum(float(losses[part].detach()) * weight for part, weight in weights.items())
    assert float(losses["loss"].detach()) == pytest.approx(total, rel=1e-5)


def test_every_feature_of_the_face_counts_alike():
    """Three numbers of the head as much as forty of the mouth; what was not measured counts for nothing."""
    real, made = torch.zeros(2, 5, layout.NMM_DIM), torch.zeros(2, 5, layout.NMM_DIM)
    for far, place in zip((1.5, 2.5, 3.5, 4.5), layout.FACE_SLICES, strict=True):  # smooth L1: half less
        made[..., place] = far
    weight, moves = torch.ones_like(real), torch.ones(layout.NMM_DIM, dtype=torch.bool)
    assert float(AutoencoderLoss.face(made, real, weight, moves)) == pytest.approx(2.5)
    still = layout.FACE_SLICES[0].start + 2  # of the first feature, two numbers move in train: they stand for it
    moves[still : layout.FACE_SLICES[0].stop] = made[..., still : layout.FACE_SLICES[0].stop] = 0
    assert float(AutoencoderLoss.face(made, real, weight, moves)) == pytest.approx(2.5)

    head = layout.FACE_SLICES[1]
    weight = torch.zeros_like(real)
    weight[..., head] = 1
    assert float(AutoencoderLoss.face(made, real, weight, moves)) == pytest.approx(2.0)
    made[:, 2:, head] += 1  # one step in four, by 1
    assert float(AutoencoderLoss.face(made, real, weight, moves)) == pytest.approx(2.0 + 0.6 + (1 - 0.05) / 4)
    assert float(AutoencoderLoss.face(made, real, 0 * weight, moves)) == 0


@pytest.mark.parametrize(("kept", "shrinks"), [(1.0, False), (0.5, True)])
def test_the_noise_grows_to_a_most_and_shrinks_from_there(
    kept: float, shrinks: bool, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
):
    model, (pose, present, mask) = make_model(statistics, 2, motion_kept=0.9).train(), draw([20, 13])
    model.noise_level.data.fill_(1.0)
    assert float(model.latent_noise) == MAX_LATENT_NOISE
    present[:], framed = True, model.to_body_frame(pose, mask)[0]
    monkeypatch.setattr(Draws, "uniform", lambda self, *shape: torch.zeros(2))
    monkeypatch.setattr(model, "decode_without_dropout", lambda z, present, mask: kept * framed)
    losses = AutoencoderLoss()(model, pose, torch.ones_like(pose, dtype=torch.bool), present, mask, Draws.of("ab"))
    losses["loss"].backward()
    assert (float(model.noise_level.grad) > 0) == shrinks
    assert float(model.noise_level.grad) >= 0


@pytest.mark.parametrize(("of_first", "grad"), [(-0.3, 0.0), (0.3, 0.4)])
def test_the_most_noise_is_that_of_the_whole_batch(
    of_first: float, grad: float, statistics: Statistics, monkeypatch: pytest.MonkeyPatch
):
    """Two processes, of which one lost motion: whether the noise may change follows from what both lost together."""
    lost, barrier, parts = {1: of_first, 2: 0.1}, threading.Barrier(2, timeout=60), {}
    monkeypatch.setattr(AutoencoderLoss, "motion_lost", lambda self, model, pose, *more: torch.tensor(lost[len(pose)]))

    def gradient(clips: int) -> float:
        def total(part: Tensor) -> Tensor:
            parts[clips] = part
            barrier.wait()
            both = parts[1] + parts[2]
            barrier.wait()
            return both

        model, (pose, present, mask) = make_model(statistics, 2, motion_kept=0.9).train(), draw([20] * clips)
        model.noise_level.data.fill_(1.0)
        draws = Draws.of("abc"[:clips])
        with part_of(WholeBatch(draws, total, 1.0)):
            losses = AutoencoderLoss()(model, pose, torch.ones_like(pose, dtype=torch.bool), present, mask, draws)
        losses["loss"].backward()
        return float(model.noise_level.grad)

    with ThreadPoolExecutor(2) as processes:
        assert sum(processes.map(gradient, (1, 2))) == pytest.approx(grad)


def test_where_no_clip_is_chosen_the_noise_stays(statistics: Statistics, monkeypatch: pytest.MonkeyPatch):
    model, (pose, present, mask) = make_model(statistics, 2, motion_kept=0.9).train(), draw([20, 13])
    monkeypatch.setattr(Draws, "uniform", lambda self, *shape: torch.ones(2))
    monkeypatch.setattr(model, "decode_without_dropout", None)  # nor is anything decoded for it
    losses = AutoencoderLoss()(model, pose, torch.ones_like(pose, dtype=torch.bool), present, mask, Draws.of("ab"))
    losses["loss"].backward()
    assert float(model.noise_level.grad) == 0


def test_what_is_measured_is_decoded_without_dropout(statistics: Statistics):
    torch.manual_seed(0)
    model = PoseAutoencoder(AutoencoderConfig(9, 16, 2, 1, 1, 1, 1, dropout=0.5), statistics).train()
    torch.nn.init.normal_(model.decoder.to_residual.weight)
    _, present, mask = draw([7, 7])
    z = torch.randn(2, 7, model.config.learnt_dim)
    once, again = (model.decode_without_dropout(z, present, mask) for _ in range(2))
    assert once.std() > 0
    torch.testing.assert_close(once, again, rtol=0, atol=0)
    assert model.decoder.training


def test_the_noise_grows_where_motion_is_to_spare_and_shrinks_where_it_lacks(statistics: Statistics):
    pose, present, mask = draw([16] * 4)
    seen, present[:] = torch.ones_like(pose, dtype=torch.bool), True
    levels = {}
    for kept in (0.05, 0.99):
        torch.manual_seed(0)
        config = AutoencoderConfig(30, 32, 2, 1, 1, 1, 1, temporal_stride=2, dropout=0.0, motion_kept=kept)
        model = PoseAutoencoder(config, statistics).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for step in range(60):
            optimizer.zero_grad()
            AutoencoderLoss()(model, pose, seen, present, mask, Draws.of("abcd", step))["loss"].backward()
            optimizer.step()
        levels[kept] = float(model.latent_noise)
    assert levels[0.99] < INITIAL_LATENT_NOISE < levels[0.05]


@pytest.mark.parametrize("level", [-0.1, float("inf"), float("nan")])
def test_a_noise_is_a_number_of_at_least_zero(level: float):
    with pytest.raises(ValueError, match=r"latent_noise .* must be 0 or more, and finite"):
        AutoencoderConfig(latent_noise=level)


@pytest.mark.parametrize("kept", [0.0, -0.5, 1.1, float("nan")])
def test_a_share_of_motion_is_a_share(kept: float):
    with pytest.raises(ValueError, match=r"motion_kept .* must be above 0, and 1 at most"):
        AutoencoderConfig(motion_kept=kept)


def test_hands_relative_to_the_wrists_and_back(statistics: Statistics):
    frame, pose = HandFrame(statistics), torch.randn(2, 5, layout.POSE_DIM)
    relative = frame.relative(pose)
    body = pose[..., layout.BODY]
    torch.testing.assert_close(frame.absolute(body, relative), pose[..., layout.HANDS], rtol=1e-4, atol=1e-4)
    data = statistics.denormalize(pose.numpy())
    expected = (hands_minus_wrists(data) - statistics.hand_mean) / statistics.hand_std
    np.testing.assert_allclose(relative.numpy(), expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_hands_follow_the_wrists(statistics: Statistics):
    """Whatever a decoder says: move the body's wrist, and its hand goes along by as much, in data units."""
    frame = HandFrame(statistics)
    body, relative = torch.randn(1, 3, layout.BODY.stop), torch.randn(1, 3, 84)
    moved, wrist = body.clone(), layout.keypoint_dims(np.array([layout.LEFT_WRIST])).tolist()
    moved[..., wrist] += 2.0
    change = (frame.absolute(moved, relative) - frame.absolute(body, relative)) * frame.std[layout.HANDS]
    change = change.view(3, 2, layout.NUM_HAND, 2)
    torch.testing.assert_close(
        change[:, 0], (2.0 * frame.std[wrist]).expand(3, layout.NUM_HAND, 2), rtol=1e-4, atol=1e-5
    )
    assert not change[:, 1].any()


def test_unseen_numbers_are_no_target(statistics: Statistics, monkeypatch: pytest.MonkeyPatch):
    """Weight 0: whatever stands there, no loss differs by a bit; and no gradient flows to what is decoded there."""
    model, (pose, present, mask) = make_model(statistics, stride=2), draw([9, 6])
    seen = torch.rand(pose.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    seen[..., layout.LEFT_HAND] = False
    posterior = [value.detach() for value in model.posterior(pose, present, mask)]
    monkeypatch.setattr(model, "posterior", lambda *args: posterior)  # the target changes, the input does not
    decoded = []
    decode = model.decode_levels
    monkeypatch.setattr(model, "decode_levels", lambda *args: decoded.append(decode(*args)) or decoded[-1])

    seen[..., SHOULDER_DIMS] = True  # they also say where the body stands; while unseen, `fill_gaps` fills them
    known = seen & mask[..., None] & presence_by_number(present)
    nonsense = torch.where(known, pose, -77.0)
    first, second = (AutoencoderLoss()(model, target, seen, present, mask) for target in (pose, nonsense))
    assert {name: value.item() for name, value in first.items()} == {name: v.item() for name, v in second.items()}

    levels = decoded[-1]
    unseen = ~known
    unseen[..., model.hand_frame.wrist_dims.unique()] = False  # an unseen wrist still learns from its seen hand
    for name, where in {"pose": slice(None), "body": layout.BODY, "relative": layout.HANDS}.items():
        (grad,) = torch.autograd.grad(second["loss"], getattr(levels, name), retain_graph=True)
        assert not grad[unseen[..., where]].any(), name
        assert grad[~unseen[..., where]].any(), name


def test_what_was_never_seen_stays_at_the_mean():
    """A left hand and an ear that no clip shows: after training they are zeros, which means unseen."""
    rng = np.random.default_rng(0)
    data = rng.normal(0.5, 0.1, (6, 12, layout.POSE_DIM)).astype(np.float32)
    seen = np.ones(data.shape, bool)
    ear = layout.keypoint_dims(np.array([7]))
    seen[..., layout.LEFT_HAND] = seen[..., ear] = False
    data[~seen] = 0.0
    statistics = compute_statistics(zip(data, seen, strict=True), {})
    assert (statistics.std[layout.LEFT_HAND] == 1).all()
    assert (statistics.hand_std[:42] == 1).all()
    torch.manual_seed(0)
    model = PoseAutoencoder(AutoencoderConfig(9, 16, 2, 1, 1, 1, 1, temporal_stride=2), statistics)
    pose = torch.from_numpy(np.stack([statistics.normalize(*clip) for clip in zip(data, seen, strict=True)]))
    seen, mask = torch.from_numpy(seen), torch.ones(6, 12, dtype=torch.bool)
    present = torch.ones(6, 12, NUM_ARTICULATORS, dtype=torch.bool)
    present[..., 0] = False
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        AutoencoderLoss()(model, pose, seen, present, mask, Draws.of("abcdef"))["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        decoded = model.eval().decode(torch.randn(2, 6, 9), mask[:2]).pose
        relative = HandFrame(statistics).relative(decoded)
    assert not decoded[..., ear].any()
    assert not decoded[..., layout.LEFT_HAND].any()
    assert relative[..., 42:].std() > 1e-3
    assert decoded[..., layout.BODY].std() > 1e-3
