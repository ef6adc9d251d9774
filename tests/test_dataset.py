"""From files to batches: what is filled, what counts, and in which order, whoever reads it and however often."""

import dataclasses

import numpy as np
import pytest
import torch
from made_up import write_clip, write_data

from dataset import LengthBatches, PoseDataset, collate, make_loader
from poses import files, layout
from poses.body_frame import SHOULDER_DIMS, place_of
from poses.interpolation import MAX_INTERPOLATED_GAP, fill_gaps, resample
from poses.pack import Pack, write_pack
from poses.splits import load_split
from poses.statistics import LEAST_FRAMED_STD, Statistics, compute_statistics
from runtime.errors import UserError

LENGTHS = [9, 30, 4, 17, 60, 12, 5, 25, 33, 8]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), {"train": LENGTHS, "dev": [5], "test": [6]})


# ---- gaps ------------------------------------------------------------------------------------------------------------


def test_gaps_are_filled_on_a_straight_line_and_ends_are_held():
    nan = np.nan
    values = np.array([nan, nan, 2.0, nan, nan, 8.0, nan])[:, None]
    filled, seen = fill_gaps(values, np.isfinite(values))
    assert filled[:, 0].tolist() == [2, 2, 2, 4, 6, 8, 8]
    assert seen[:, 0].tolist() == [False, False, True, True, True, True, False]  # before and after nothing is known


@pytest.mark.parametrize("gap", [1, MAX_INTERPOLATED_GAP, MAX_INTERPOLATED_GAP + 1])
def test_only_a_short_gap_counts_as_seen(gap: int):
    values, seen = np.zeros((gap + 2, 1, 2)), np.ones((gap + 2, 1), bool)
    values[-1], seen[1:-1] = gap + 1.0, False
    filled, now_seen = fill_gaps(values, seen)
    np.testing.assert_allclose(filled[:, 0, 0], np.arange(gap + 2))
    assert now_seen.all() == (gap <= MAX_INTERPOLATED_GAP)


def test_points_are_filled_each_for_itself_and_the_never_seen_is_zero():
    rng = np.random.default_rng(0)
    values, seen = rng.normal(size=(12, 4, 2)), rng.random((12, 4)) < 0.5
    seen[:, 3], seen[0, :3] = False, True
    values[~seen] = np.nan
    filled, now_seen = fill_gaps(values, seen)
    for k in range(3):
        known = np.flatnonzero(seen[:, k])
        expected = np.interp(np.arange(12), known, values[known, k, 1])
        np.testing.assert_allclose(filled[:, k, 1], expected)
    assert not filled[:, 3].any()
    assert not now_seen[:, 3].any()
    assert (now_seen >= seen).all()


def test_a_hand_of_zeros_a_nan_and_visibility_zero_are_not_seen(tmp_path):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0.1, 0.9, (20, layout.NUM_KEYPOINTS, 2)).astype(np.float32)
    visibility = np.ones((20, layout.NUM_KEYPOINTS), np.float32)
    keypoints[:, layout.LEFT_HAND_KEYPOINTS] = 0.0
    keypoints[10:, layout.NOSE] = np.nan
    visibility[:10, layout.LEFT_ELBOW] = 0.0
    gaze = rng.normal(size=(18, 4)).astype(np.float32)
    gaze[:9, 2] = np.nan
    changes = {key: rng.normal(size=(18, *shape)).astype(np.float32) for key, shape in layout.NMM_FEATURES.items()}
    write_clip(
        tmp_path, "train", "a", 20, rng, keypoints=keypoints, visibility=visibility, **{**changes, "eye_gaze": gaze}
    )
    clip = files.read_clip(tmp_path, "train", "a")
    assert clip.pose.shape == clip.seen.shape == (18, layout.POSE_DIM)  # the shorter file counts
    assert np.isfinite(clip.pose).all()
    unseen = np.zeros_like(clip.seen)
    unseen[:, layout.LEFT_HAND] = True
    unseen[10:, layout.keypoint_dims(np.array([layout.NOSE]))] = True
    unseen[:10, layout.keypoint_dims(np.array([layout.LEFT_ELBOW]))] = True
    unseen[:9, layout.EYE_GAZE.start + 2] = True
    assert np.array_equal(clip.seen, ~unseen)


# ---- packs and statistics --------------------------------------------------------------------------------------------


def test_a_pack_gives_back_what_was_streamed_into_it(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [
        {"z": rng.normal(size=(n, 3)).astype(np.float32), "n": np.full((n + 1, 1), n, np.uint8)} for n in (4, 0, 7)
    ]
    asked = []

    def items():
        for number, item in enumerate(arrays):
            asked.append(number)
            yield f"clip{number}", f"text {number} ü|", item

    write_pack(tmp_path / "pack", items())
    pack = Pack(tmp_path / "pack")
    assert asked == [0, 1, 2]  # each was asked for once
    assert pack.ids == ["clip0", "clip1", "clip2"]
    assert pack.texts[1] == "text 1 ü|"
    assert pack.lengths("z").tolist() == [4, 0, 7]
    for number, item in enumerate(arrays):
        for name, value in item.items():
            assert pack[number][name].dtype == value.dtype
            assert np.array_equal(pack[number][name], value)
    for item, streamed in zip(arrays, pack.stream(), strict=True):
        assert item.keys() == streamed.keys()
        for name, value in item.items():
            assert streamed[name].dtype == value.dtype
            assert np.array_equal(streamed[name], value)
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_a_pack_that_fails_half_way_leaves_nothing(tmp_path):
    def items():
        yield "a", "", {"z": np.zeros((3, 2))}
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        write_pack(tmp_path / "pack", items())
    assert not list(tmp_path.iterdir())


def test_workers_pack_the_same_files_and_name_the_same_damage(tmp_path):
    write_data(tmp_path, {"train": [5, 6, 7, 8]})
    packs = [load_split(tmp_path, "train", tmp_path / str(number), num_workers=number) for number in (0, 2)]
    for name in ("pose", "seen", "index.json"):
        assert (packs[0].folder / name).read_bytes() == (packs[1].folder / name).read_bytes()
    for clip in ("train1", "train3"):
        (tmp_path / "train" / "nmms" / f"{clip}.pkl").write_bytes(b"damaged")
    said = []
    for number in (0, 2):
        with pytest.raises(UserError, match="2 of 4 clips") as error:
            load_split(tmp_path, "train", tmp_path / str(number), num_workers=number)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "train1.pkl" in said[0]
    assert len(load_split(tmp_path, "train", skip_bad=True, num_workers=2)) == 2


def test_a_changed_file_is_packed_again(tmp_path):
    write_data(tmp_path, {"train": [5, 6]})
    before = load_split(tmp_path, "train")
    assert load_split(tmp_path, "train").folder == before.folder
    write_clip(tmp_path, "train", "train1", 9, np.random.default_rng(5))
    after = load_split(tmp_path, "train")
    assert after.lengths("pose").tolist() == [5, 9]
    assert before.lengths("pose").tolist() == [5, 6]


def test_statistics_are_those_of_all_frames_together_under_their_weights():
    rng = np.random.default_rng(0)
    clips = [
        (1000.0 + rng.normal(size=(n, layout.POSE_DIM)), rng.random((n, layout.POSE_DIM)) < 0.7) for n in (1, 20, 7, 40)
    ]
    for pose, seen in clips:
        pose[:, 3], seen[:, 4] = 5.0, False  # one never moves, one was never seen
        pose[~seen] = 1e6
    clips[1][1][:, 9] = False
    statistics = compute_statistics(clips, {"split": "train"})
    pose, seen = (np.concatenate(parts) for parts in zip(*clips, strict=True))
    values = np.ma.masked_array(pose, ~seen)
    free = np.setdiff1d(np.arange(layout.POSE_DIM), [3, 4])
    np.testing.assert_allclose(statistics.mean[free], values.mean(0)[free], rtol=1e-6)
    np.testing.assert_allclose(statistics.std[free], values.std(0)[free], rtol=1e-4)
    assert statistics.std[[3, 4]].tolist() == [1, 1]
    assert statistics.mean[[3, 4]].tolist() == [5, 0]
    wrist, tip = layout.keypoint_dims(np.array([layout.RIGHT_WRIST])), layout.RIGHT_HAND.stop
    offset = np.ma.masked_array(pose[:, tip - 2 : tip] - pose[:, wrist], ~(seen[:, tip - 2 : tip] & seen[:, wrist]))
    np.testing.assert_allclose(statistics.hand_mean[-2:], offset.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics.hand_std[-2:], offset.std(0), rtol=1e-4)
    assert statistics.info == {"clips": 4, "frames": 68, "split": "train"}


def test_standardised_numbers_move_though_their_spread_is_1():
    pose = np.zeros((4, layout.POSE_DIM))
    pose[:, 0] = [-1.0, 1.0, -1.0, 1.0]
    statistics = compute_statistics([(pose, np.ones(pose.shape, bool))], {})
    assert statistics.std[0] == pytest.approx(1)
    assert statistics.moves.tolist() == statistics.shown.tolist() == [True] + [False] * (layout.POSE_DIM - 1)


def test_statistics_in_the_body_frame_are_those_of_one_body_in_one_place():
    """The same signing by bodies that stand elsewhere and are larger: in their frames they do not differ."""
    rng = np.random.default_rng(0)
    first = rng.uniform(0.3, 0.7, (30, layout.POSE_DIM))
    seen = np.ones(first.shape, bool)
    seen[:, 4] = False
    clips = []
    for scale, move in ((1.0, 0.0), (1.4, -0.2), (0.7, 0.1)):
        other = first.copy()
        other[:, layout.MANUAL] = scale * first[:, layout.MANUAL] + move
        clips.append((other, seen))
    shoulderless = rng.normal(size=first.shape), seen & (np.arange(layout.POSE_DIM) != SHOULDER_DIMS[0])
    one, three = (compute_statistics(some, {}).framed for some in (clips[:1], [*clips, shoulderless]))
    for name in ("mean", "std", "hand_mean", "hand_std"):
        np.testing.assert_allclose(getattr(three, name), getattr(one, name), rtol=1e-5, atol=1e-6)
    assert (one.mean[4], one.std[4]) == (0, 1)
    places = [place_of(clip) for clip, _ in clips]
    np.testing.assert_allclose(three.place_mean, np.mean(places, axis=0), rtol=1e-5)
    np.testing.assert_allclose(three.place_std, np.std(places, axis=0), rtol=1e-5)


def test_a_body_that_hardly_moves_is_not_magnified():
    pose = 0.5 + 1e-4 * np.random.default_rng(0).normal(size=(30, layout.POSE_DIM))
    pose[:, SHOULDER_DIMS] += [0.1, -0.1, -0.1, -0.1]
    framed = compute_statistics([(pose, np.ones(pose.shape, bool))], {}).framed
    assert framed.std[layout.MANUAL] == pytest.approx(LEAST_FRAMED_STD)
    assert (framed.std[layout.NMM] < 2e-4).all()


def test_statistics_survive_a_file_and_a_checkpoint(tmp_path, statistics: Statistics):
    statistics.save(tmp_path / "statistics.npz")
    for again in (Statistics.load(tmp_path / "statistics.npz"), Statistics.from_dict(statistics.to_dict())):
        assert again.fingerprint == statistics.fingerprint
        assert again.to_dict() == statistics.to_dict()
    pose = np.random.default_rng(0).normal(size=(5, layout.POSE_DIM)).astype(np.float32)
    np.testing.assert_allclose(statistics.denormalize(statistics.normalize(pose)), pose, atol=1e-5)


def test_statistics_of_before_the_body_frame_are_read(tmp_path, statistics: Statistics):
    before = dataclasses.replace(statistics, framed=None)
    before.save(tmp_path / "statistics.npz")
    for again in (Statistics.load(tmp_path / "statistics.npz"), Statistics.from_dict(before.to_dict())):
        assert again.framed is None
        assert again.fingerprint == statistics.fingerprint


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_every_clip_comes_once_an_epoch_with_clips_of_like_length():
    lengths = np.random.default_rng(0).integers(10, 120, 1000)
    sampler = LengthBatches(lambda epoch: lengths, 8, shuffle=True, seed=3)
    orders = []
    for sampler.epoch in (1, 2):
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(index for batch in batches for index, _ in batch) == list(range(1000))
        assert {epoch for batch in batches for _, epoch in batch} == {sampler.epoch}
        padded = sum(len(batch) * max(lengths[index] for index, _ in batch) for batch in batches)
        assert padded < 1.06 * lengths.sum()
        orders.append([index for batch in batches for index, _ in batch])
        assert [index for batch in sampler for index, _ in batch] == orders[-1]
    assert orders[0] != orders[1]


def test_several_processes_share_the_batches_of_one():
    lengths = np.arange(1, 24)
    alone = list(LengthBatches(lambda epoch: lengths, 6, shuffle=True, seed=1))
    shares = [
        list(LengthBatches(lambda epoch: lengths, 6, shuffle=True, seed=1, rank=rank, world_size=2)) for rank in (0, 1)
    ]
    for whole, first, second in zip(alone, *shares, strict=True):
        assert sorted(whole) == sorted(first + second)


@pytest.mark.parametrize(
    ("long_clips", "varied"), [("crop", {"augmentation": 1.0, "mixed_faces": 0.5}), ("resample", {})]
)
def test_workers_change_nothing(data, statistics: Statistics, long_clips: str, varied: dict[str, float]):
    dataset = PoseDataset(load_split(data, "train"), statistics, 20, long_clips, seed=4, **varied)
    epochs = []
    for num_workers in (0, 2):
        loader = make_loader(dataset, 4, shuffle=True, seed=4, num_workers=num_workers)
        loader.batch_sampler.epoch = 7
        epochs.append(list(loader))
    for first, second in zip(*epochs, strict=True):
        assert first.keys() == second.keys() == {"id", "text", "pose", "pose_mask", "seen", "present"}
        for name, value in first.items():
            assert torch.equal(value, second[name]) if torch.is_tensor(value) else value == second[name]


def test_a_crop_depends_on_seed_epoch_and_index_alone(data, statistics: Statistics):
    pack = load_split(data, "train")
    dataset = PoseDataset(pack, statistics, 20, "crop", seed=1)
    first = dataset[(4, 3)]["pose"]
    for other in (0, 1, 2):  # whatever was read in between
        assert not np.array_equal(dataset[(4, other)]["pose"], first)
    assert np.array_equal(PoseDataset(pack, statistics, 20, "crop", seed=1)[(4, 3)]["pose"], first)
    whole = statistics.normalize(np.array(pack.field("pose", 4)))
    assert any(np.array_equal(whole[start : start + 20], first) for start in range(len(whole) - 19))
    assert len(dataset[(0, 3)]["pose"]) == LENGTHS[0]


def test_a_mixed_face_is_that_of_another_clip_and_the_rest_stays(data, statistics: Statistics):
    pack = load_split(data, "train")
    alone, mixed = (PoseDataset(pack, statistics, 60, seed=1, mixed_faces=share) for share in (0.0, 1.0))
    whose = []
    for index, length in enumerate(LENGTHS):
        own, got = alone[(index, 5)], mixed[(index, 5)]
        for name in ("pose", "seen"):
            assert np.array_equal(got[name][:, layout.MANUAL], own[name][:, layout.MANUAL])
        faces = [statistics.normalize(resample(np.array(pack.field("pose", n)), length)) for n in range(len(pack))]
        matches = [np.allclose(face[:, layout.NMM], got["pose"][:, layout.NMM], atol=1e-4) for face in faces]
        assert sum(matches) == 1
        whose.append(matches.index(True))
    assert len(set(whose)) > len(LENGTHS) / 3
    assert np.array_equal(
        mixed[(4, 5)]["pose"], PoseDataset(pack, statistics, 60, seed=1, mixed_faces=1.0)[(4, 5)]["pose"]
    )
    drawn_anew = [mixed[(4, epoch)]["pose"][:, layout.NMM] for epoch in range(4)]
    assert any(not np.array_equal(face, drawn_anew[0]) for face in drawn_anew[1:])


def test_a_share_of_clips_has_mixed_faces(data, statistics: Statistics):
    pack = load_split(data, "train")
    alone, mixed = (PoseDataset(pack, statistics, 60, seed=1, mixed_faces=share) for share in (0.0, 0.5))
    keys = [(index, epoch) for index in range(len(LENGTHS)) for epoch in range(30)]
    changed = [not np.array_equal(alone[key]["pose"], mixed[key]["pose"]) for key in keys]
    assert 0.35 < np.mean(changed) < 0.55  # one in ten gets its own face


def test_resampling_keeps_both_ends_and_straight_lines():
    line = np.linspace([2.0, -1.0], [5.0, 8.0], 7).astype(np.float32)
    for length in (2, 5, 7, 19):
        np.testing.assert_allclose(resample(line, length), np.linspace(line[0], line[-1], length), atol=1e-5)
    clip = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert np.array_equal(resample(clip, 13)[[0, -1]], clip[[0, -1]])
    assert np.array_equal(resample(clip, 50), clip)


def test_collate_pads_to_the_batch_and_masks_the_padding():
    items = [{"id": str(n), "pose": np.full((n, 2), n, np.float32)} for n in (3, 1)]
    batch = collate(items)
    assert batch["id"] == ["3", "1"]
    assert batch["pose"].tolist() == [[[3, 3]] * 3, [[1, 1], [0, 0], [0, 0]]]
    assert batch["pose_mask"].tolist() == [[True] * 3, [True, False, False]]
