"""How a clip's files are read, whoever wrote them: what is missing, which time they tell, what is no number at all."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from made_up import write_clip, write_data

from poses import files, layout, odd_frames
from poses.files import MAX_KEYPOINT, MAX_NMM, Reading, read_clip
from poses.interpolation import at_moments
from poses.splits import load_split
from poses.statistics import compute_statistics
from runtime.errors import UserError

FRAMES = 30
NOSE = layout.keypoint_dims(np.array([layout.NOSE]))


def made(frames: int = FRAMES, seed: int = 0) -> dict[str, np.ndarray]:
    """Keypoints and NMMs by name."""
    rng = np.random.default_rng(seed)
    nmm = {key: rng.normal(size=(frames, *shape)).astype(np.float32) for key, shape in layout.NMM_FEATURES.items()}
    return {"keypoints": rng.uniform(0.1, 0.9, (frames, layout.NUM_KEYPOINTS, 2)).astype(np.float32), **nmm}


def write(folder: Path, arrays: dict[str, np.ndarray], clip_id: str = "a", **nmm) -> Path:
    """A clip of train; `nmm` holds more entries of the NMM pickle."""
    write_clip(folder, "train", clip_id, 1, np.random.default_rng(0), **arrays)
    path = folder / "train" / "nmms" / f"{clip_id}.pkl"
    path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), **nmm}))
    return folder


def nmm_of(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([arrays[key].reshape(len(arrays[key]), -1) for key in layout.NMM_FEATURES], axis=1)


# ---- missing, written another way ------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0.0, -1.0, np.nan])
def test_a_frame_without_a_person_is_unseen_whichever_way_it_is_written(tmp_path: Path, missing: float):
    arrays = made()
    gap = slice(10, 10 + 8)
    for values in arrays.values():
        values[gap] = missing
    clip = read_clip(write(tmp_path, arrays), "train", "a")
    expected = np.ones(clip.seen.shape, bool)
    expected[gap] = False
    assert np.array_equal(clip.seen, expected)
    straight = np.linspace(arrays["keypoints"][9, layout.NOSE], arrays["keypoints"][18, layout.NOSE], 10)
    np.testing.assert_allclose(clip.pose[9:19, NOSE], straight, atol=1e-6)


@pytest.mark.parametrize("place", [[0.5, 0.5], [0.31, 0.77]])
def test_a_hand_in_one_point_is_unseen(tmp_path: Path, place: list[float]):
    arrays = made()
    arrays["keypoints"][10:20, layout.RIGHT_HAND_KEYPOINTS] = place
    clip = read_clip(write(tmp_path, arrays), "train", "a")
    expected = np.ones(clip.seen.shape, bool)
    expected[10:20, layout.RIGHT_HAND] = False
    assert np.array_equal(clip.seen, expected)
    assert ("frames have a hand whose points all lie in one place; it does not count as seen", 10) in clip.notes.items()


@pytest.mark.parametrize("never", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("missing", [0.0, -1.0, np.nan])
def test_a_feature_that_was_not_measured_is_no_data_however_missing_faces_are_written(
    tmp_path: Path, never: float, missing: float
):
    arrays = made()
    arrays["mouth_shape"][:] = never
    for key in layout.NMM_FEATURES:
        arrays[key][8:20] = missing  # no face in these frames
    clip = read_clip(write(tmp_path, arrays), "train", "a")
    expected = np.ones(clip.seen.shape, bool)
    expected[8:20, layout.NMM] = False
    expected[:, layout.MOUTH_SHAPE] = False
    assert np.array_equal(clip.seen, expected)


def test_zeros_do_not_reach_the_statistics(tmp_path: Path):
    arrays = made()
    arrays["keypoints"][:, layout.NOSE] = [0.5, 0.3] + 0.05 * np.random.default_rng(1).normal(size=(FRAMES, 2))
    spread = []
    for folder, dropped in (("whole", []), ("zeros", [3, 4, 11, 17, 23, 24])):
        arrays["keypoints"][dropped] = 0
        clip = read_clip(write(tmp_path / folder, arrays), "train", "a")
        spread.append(compute_statistics([(clip.pose, clip.seen)], {}).std[NOSE])
    np.testing.assert_allclose(spread[1], spread[0], rtol=0.2)


def test_only_the_keypoint_at_the_origin_is_unseen(tmp_path: Path):
    arrays = made()
    arrays["keypoints"][:, layout.LEFT_EAR] = 0
    arrays["keypoints"][:, layout.RIGHT_EAR, 0] = 0  # at the edge of the picture
    clip = read_clip(write(tmp_path, arrays), "train", "a")
    seen = layout.frame_to_keypoints(clip.seen).all(-1).all(0)
    assert np.flatnonzero(~seen).tolist() == [layout.LEFT_EAR]


@pytest.mark.parametrize("key", ["visibility", "confidence"])
def test_a_keypoint_below_the_threshold_is_unseen(tmp_path: Path, key: str):
    arrays = made()
    arrays[key] = np.ones((FRAMES, layout.NUM_KEYPOINTS), np.float32)
    arrays[key][:, layout.RIGHT_HIP + 1 : layout.NUM_BODY] = 0.0002  # legs outside the picture
    arrays[key][:, layout.LEFT_ELBOW] = 0.02  # an arm that is hidden, as MediaPipe sees it
    write(tmp_path, arrays)
    seen = layout.frame_to_keypoints(read_clip(tmp_path, "train", "a").seen).all(-1).all(0)
    assert np.flatnonzero(~seen).tolist() == list(range(layout.RIGHT_HIP + 1, layout.NUM_BODY))
    strict = read_clip(tmp_path, "train", "a", reading=Reading(visibility_threshold=0.5))
    assert not layout.frame_to_keypoints(strict.seen)[:, layout.LEFT_ELBOW].any()
    lax = read_clip(tmp_path, "train", "a", reading=Reading(visibility_threshold=0.0))
    assert lax.seen.all()


HANDS = slice(layout.NUM_BODY, None)


@pytest.mark.parametrize("visibility", [0, 0.5 * files.VISIBILITY_THRESHOLD])
def test_hands_that_only_their_visibility_hides_in_most_clips_are_refused_and_in_some_are_told(
    visibility: float, tmp_path: Path
):
    """MediaPipe writes 0 for the visibility of every hand point, found or not."""
    for clip_id in "abc":
        arrays = {**made(), "visibility": np.ones((FRAMES, layout.NUM_KEYPOINTS), np.float32)}
        arrays["visibility"][:, HANDS] = visibility
        if clip_id == "c":  # which shows no hand at all
            arrays["keypoints"][:, HANDS] = 0
        write(tmp_path, arrays, clip_id)
    said = r"train: 2 of 3 clips have hand keypoints, all of visibility 0 or below .*, so no hand is seen; .* write 1"
    with pytest.raises(UserError, match=said):
        load_split(tmp_path, "train")
    arrays["keypoints"], arrays["visibility"][0, HANDS] = made()["keypoints"], 1
    write(tmp_path, arrays, "c")
    notes = load_split(tmp_path, "train").info["notes"]
    assert notes == {f"frames have {files.HIDDEN_HANDS}": {"clips": 2, "frames": 2 * FRAMES, "first": "a"}}


def test_visibility_the_other_way_round_is_refused(tmp_path: Path):
    """As 1 for hidden; the legs, which MediaPipe guesses, then are all that is seen."""
    for clip_id in "abc":
        arrays = {**made(), "visibility": np.full((FRAMES, layout.NUM_KEYPOINTS), 0.9998, np.float32)}
        arrays["visibility"][:, : layout.RIGHT_HIP + 1] = arrays["visibility"][:, HANDS] = clip_id == "c"
        write(tmp_path, arrays, clip_id)
    said = "train: 2 of 3 clips have nose and shoulders, all of visibility 0 or below .* not the other way round"
    with pytest.raises(UserError, match=said):
        load_split(tmp_path, "train")


@pytest.mark.parametrize("guessed", [0, FRAMES // 2])
def test_clips_that_show_no_hand_may_have_keypoints_of_one_in_some_frames(tmp_path: Path, guessed: int):
    arrays = {**made(), "visibility": np.ones((FRAMES, layout.NUM_KEYPOINTS), np.float32)}
    arrays["visibility"][:, HANDS] = 0
    arrays["keypoints"][guessed:, HANDS] = 0
    assert not load_split(write(tmp_path, arrays), "train").info["notes"]


def test_a_face_of_zeros_is_none_and_a_zero_of_a_seen_face_is_data(tmp_path: Path):
    arrays = made()
    for key in layout.NMM_FEATURES:
        arrays[key][8:20] = 0  # no face in these frames
    arrays["mouth_shape"][:] = 0  # never measured
    arrays["facial_aus"][:, 5] = 0  # an action unit that rests
    clip = read_clip(write(tmp_path, arrays), "train", "a")
    expected = np.ones(clip.seen.shape, bool)
    expected[8:20, layout.NMM] = False
    expected[:, layout.MOUTH_SHAPE] = False
    assert np.array_equal(clip.seen, expected)


@pytest.mark.parametrize("padding", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("padded", [("keypoints", *layout.NMM_FEATURES), ("keypoints",), tuple(layout.NMM_FEATURES)])
def test_a_clip_padded_to_a_fixed_length_is_read_as_without_its_padding(tmp_path: Path, padded: tuple, padding: float):
    arrays = made()
    plain = read_clip(write(tmp_path / "plain", arrays), "train", "a")
    for name in padded:
        shape = arrays[name].shape[1:]
        arrays[name] = np.concatenate([arrays[name], np.full((40, *shape), padding, np.float32)])
    clip = read_clip(write(tmp_path / "padded", arrays), "train", "a")
    assert np.array_equal(clip.pose, plain.pose)
    assert np.array_equal(clip.seen, plain.seen)
    assert sum(clip.notes.values()) == (40 if "keypoints" in padded else 0)


def test_frames_that_saw_nothing_are_left_out_at_the_start_too(tmp_path: Path):
    arrays = made()
    for values in arrays.values():
        values[:7] = 0
    clip = read_clip(write(tmp_path, arrays), "train", "a")
    assert np.array_equal(clip.pose, layout.keypoints_to_frame(arrays["keypoints"], nmm_of(arrays))[7:])
    assert clip.notes == {"frames at the ends saw nothing and were left out": 7}


def test_what_a_masked_array_hides_is_unseen(tmp_path: Path):
    arrays = made()
    hidden = np.zeros((FRAMES, 4), bool)
    hidden[5:20, 2] = True
    write(tmp_path, arrays, eye_gaze=np.ma.masked_array(arrays["eye_gaze"], hidden))
    seen = read_clip(tmp_path, "train", "a").seen
    assert np.array_equal(~seen[:, layout.EYE_GAZE], hidden)
    assert seen[:, : layout.EYE_GAZE.start].all()


@pytest.mark.parametrize("factor", [100, 255, -10])
def test_visibility_in_another_unit_is_refused(tmp_path: Path, factor: int):
    arrays = made()
    arrays["visibility"] = factor * np.random.default_rng(0).uniform(size=(FRAMES, layout.NUM_KEYPOINTS))
    with pytest.raises(UserError, match=r"a\.npz: 'visibility' holds .*; write 0 for unseen up to 1 for seen"):
        read_clip(write(tmp_path, arrays), "train", "a")


def test_nan_and_minus_one_as_visibility_are_unseen(tmp_path: Path):
    arrays = made()
    arrays["visibility"] = np.ones((FRAMES, layout.NUM_KEYPOINTS), np.float32)
    arrays["visibility"][:, layout.LEFT_EAR], arrays["visibility"][:, layout.RIGHT_EAR] = np.nan, -1
    seen = layout.frame_to_keypoints(read_clip(write(tmp_path, arrays), "train", "a").seen).all(-1).all(0)
    assert np.flatnonzero(~seen).tolist() == [layout.LEFT_EAR, layout.RIGHT_EAR]


def test_padding_by_the_last_frame_is_noted(tmp_path: Path):
    arrays = made()
    arrays["keypoints"][:, layout.LEFT_EAR] = np.nan
    padded = {name: np.concatenate([values, np.repeat(values[-1:], 12, axis=0)]) for name, values in arrays.items()}
    (note,) = read_clip(write(tmp_path, padded), "train", "a").notes.items()
    assert note == ("frames at the end repeat the one before, as padding does; cut them off, or they are learnt", 12)


@pytest.mark.parametrize("part", ["left hand", "right hand", "face"])
def test_a_part_that_keeps_its_last_place_while_the_body_moves_is_noted(tmp_path: Path, part: str):
    """Some programs write the last place of what they did not find; it then counts as seen."""
    arrays = made()
    hand = layout.HAND_KEYPOINTS.get(part.removesuffix(" hand"), slice(0))
    arrays["keypoints"][11:20, hand] = arrays["keypoints"][10, hand]
    for name in layout.NMM_FEATURES if part == "face" else ():
        arrays[name][11:20] = arrays[name][10]
    (note,) = read_clip(write(tmp_path, arrays), "train", "a").notes.items()
    assert note[0].startswith(f"frames have a {part} that stands exactly still while the body moves")
    assert note[1] == 9
    arrays["keypoints"][11:20] = arrays["keypoints"][10]  # a picture that stands still is another matter
    notes = read_clip(write(tmp_path, arrays), "train", "a").notes
    assert not any(part in note for note in notes)


@pytest.mark.parametrize("side", layout.HAND_KEYPOINTS)
def test_a_hand_that_moves_as_one_stiff_piece_is_noted(tmp_path: Path, side: str):
    """Some programs draw a usual shape at the wrist of a hand that they did not find; it then counts as seen."""
    arrays = made()
    hand = arrays["keypoints"][:, layout.HAND_KEYPOINTS[side]]
    shape = (hand[10] - hand[10, layout.HAND_ROOT]).copy()
    hand[11:20] = hand[11:20, :1] + shape
    (note,) = read_clip(write(tmp_path, arrays), "train", "a").notes.items()
    assert note == (f"frames {odd_frames.STIFF}", 9)
    hand[11:20, 1:] += np.random.default_rng(0).normal(scale=1e-3, size=(9, 20, 2))  # a detector's noise bends it
    assert not read_clip(write(tmp_path, arrays), "train", "a").notes


@pytest.mark.parametrize("per_axis", [True, False])
def test_hands_that_are_each_scaled_to_a_box_of_their_own_are_noted(tmp_path: Path, per_axis: bool):
    """A hand that bends, or turns to the camera, is not always as large."""
    arrays = made()
    for place in layout.HAND_KEYPOINTS.values():
        hand = arrays["keypoints"][:, place]
        size = np.ptp(hand, axis=1, keepdims=True)
        small = (hand - hand[:, :1]) / (size if per_axis else size.max(2, keepdims=True))
        arrays["keypoints"][:, place] = hand[:, :1] + 0.08 * small
    (note,) = read_clip(write(tmp_path, arrays), "train", "a").notes.items()
    assert note == (f"frames {odd_frames.BOXED}", FRAMES - 1)
    assert not read_clip(write(tmp_path, made()), "train", "a").notes


@pytest.mark.parametrize("edges", [(0.0, 1.0), (0.1, 0.9)])
def test_frames_that_are_each_stretched_to_one_box_are_noted(tmp_path: Path, edges: tuple[float, float]):
    arrays = made()
    arrays["keypoints"][:, layout.LEFT_EAR] = np.nan
    low, high = (
        np.nanmin(arrays["keypoints"], axis=1, keepdims=True),
        np.nanmax(arrays["keypoints"], axis=1, keepdims=True),
    )
    arrays["keypoints"] = edges[0] + (arrays["keypoints"] - low) / (high - low) * (edges[1] - edges[0])
    (note,) = read_clip(write(tmp_path, arrays), "train", "a").notes.items()
    assert note[0] == f"frames {odd_frames.STRETCHED}"
    assert note[1] >= FRAMES - 3  # a corner of the box may be (0, 0), which is unseen
    arrays["keypoints"] = made()["keypoints"].clip(0.3, 2.0)  # two sides of a picture beyond which nothing is
    assert not read_clip(write(tmp_path, arrays), "train", "a").notes


def test_keys_that_are_not_read_are_noted(tmp_path: Path):
    clip = read_clip(write(tmp_path, {**made(), "score": np.ones(3)}, landmarks=[1]), "train", "a")
    assert clip.notes == {"'score' of .npz files is not read": 0, "'landmarks' of NMM files is not read": 0}


# ---- time ------------------------------------------------------------------------------------------------------------


def ramp(frames: int, rate: float) -> dict[str, np.ndarray]:
    """NMMs that grow by one per second, taken `rate` times a second."""
    seconds = 1 + np.arange(frames, dtype=np.float32) / rate
    return {
        key: np.broadcast_to(seconds.reshape(-1, *[1] * len(s)), (frames, *s)) for key, s in layout.NMM_FEATURES.items()
    }


@pytest.mark.parametrize(("frames", "rate"), [(15, 12.5), (60, 50.0), (20, 25 * 2 / 3), (45, 37.5), (16, 12.5)])
def test_a_face_of_another_rate_is_brought_to_the_frames_of_the_pose(tmp_path: Path, frames: int, rate: float):
    clip = read_clip(write(tmp_path, {**made(), **ramp(frames, rate)}), "train", "a")
    expected = 1 + np.arange(FRAMES) / 25
    inside = np.arange(FRAMES) * rate / 25 <= frames - 1
    assert len(clip.pose) == FRAMES
    for number in range(layout.NMM.start, layout.POSE_DIM):
        np.testing.assert_allclose(clip.pose[inside, number], expected[inside], atol=1e-5)
    assert any("resampled in time" in note for note in clip.notes)


def test_a_ratio_of_lengths_is_believed_only_where_most_clips_share_it(tmp_path: Path):
    """One file that was cut off at its half is not one of half the rate."""
    half = {key: values[::2] for key, values in made().items() if key != "keypoints"}
    for clip_id in "abcd":
        write(tmp_path, {**made(), **(half if clip_id in "bc" else {})}, clip_id)
    said = r"2 of 4 clips of train are damaged \(leave.*b\.pkl: 15 frames against 30 of b\.npz; .*c\.pkl: 15 frames"
    with pytest.raises(UserError, match=f"(?s){said}"):
        load_split(tmp_path, "train")
    assert not any((tmp_path / "cache").glob("train*"))
    left = load_split(tmp_path, "train", skip_bad=True)
    assert left.ids == ["a", "d"]
    assert [problem.split(":")[0][-5:] for problem in left.info["left_out"]] == ["b.pkl", "c.pkl"]
    assert not left.info["notes"]
    write(tmp_path, {**made(), **half}, "a")
    assert load_split(tmp_path, "train").ids == [*"abcd"]


def test_rates_that_both_files_state_are_believed(tmp_path: Path):
    arrays = {**made(), **ramp(36, 30.0), "fps": np.float32(25)}
    clip = read_clip(write(tmp_path / "known", arrays, fps=30), "train", "a")
    assert clip.fps == 25
    np.testing.assert_allclose(clip.pose[:, layout.NMM.start], 1 + np.arange(FRAMES) / 25, atol=1e-5)
    with pytest.raises(UserError, match=r"a\.pkl: 36 frames against 30 of a\.npz; they are not one clip"):
        read_clip(write(tmp_path / "unknown", {**arrays, "fps": None}), "train", "a")


def test_stated_rates_that_do_not_fit_the_lengths_are_named(tmp_path: Path):
    write(tmp_path, {**made(), "fps": np.float32(25)}, fps=30)
    with pytest.raises(UserError, match=r"30 frames against 30 of a\.npz; at the rates that they state, 30 and 25 fps"):
        read_clip(tmp_path, "train", "a")


@pytest.mark.parametrize("frames", [28, 32])
def test_two_frames_more_or_less_are_cut(tmp_path: Path, frames: int):
    arrays = {**made(), **{key: value for key, value in made(frames).items() if key != "keypoints"}}
    clip = read_clip(write(tmp_path, arrays), "train", "a")
    assert len(clip.pose) == min(FRAMES, frames)
    assert np.array_equal(clip.pose[:, layout.NMM], nmm_of(arrays)[: len(clip.pose)])
    assert not clip.notes


def test_a_pose_is_resampled_to_the_rate_that_is_asked_for(tmp_path: Path):
    arrays = {**made(60), "fps": np.array(50)}
    arrays["keypoints"][20:30, layout.NOSE] = np.nan
    write(tmp_path, arrays)
    whole = read_clip(tmp_path, "train", "a")
    half = read_clip(tmp_path, "train", "a", reading=Reading(fps=25))
    assert (whole.fps, half.fps) == (50, 25)
    assert np.array_equal(half.pose, whole.pose[::2])
    assert np.array_equal(half.seen, whole.seen[::2])
    double = read_clip(tmp_path, "train", "a", reading=Reading(fps=100))
    assert np.array_equal(double.pose[::2], whole.pose)
    np.testing.assert_allclose(double.pose, at_moments(whole.pose, np.arange(120) / 2), atol=1e-6)
    assert not double.seen[39:60, NOSE].any()  # between a seen and an unseen frame nothing is known
    same = read_clip(tmp_path, "train", "a", reading=Reading(fps=49.95))
    assert np.array_equal(same.pose, whole.pose)


def test_what_no_frame_of_the_new_rate_shows_is_left_out_at_the_end(tmp_path: Path):
    arrays = {**made(60), "fps": np.array(50)}
    arrays["keypoints"][50:59] = np.nan  # lost, and seen once more where no new frame lies
    for name in layout.NMM_FEATURES:
        arrays[name][50:] = np.nan
    clip = read_clip(write(tmp_path, arrays), "train", "a", reading=Reading(fps=12.5))
    assert len(clip.pose) == 13
    assert clip.seen[-1].any()


def test_a_split_of_several_rates_is_refused_or_resampled(tmp_path: Path):
    for clip_id, frames, fps in (("a", 30, 25.0), ("b", 60, 50.0), ("c", 31, 24.99)):
        write(tmp_path, {**made(frames), "fps": np.float32(fps)}, clip_id)
    (tmp_path / "train.txt").write_text("a|x\nb|y\nc|z\n")
    with pytest.raises(UserError, match=r"25 \(2 clips, such as a\), 50 \(1 clips, such as b\).*--fps") as error:
        load_split(tmp_path, "train")
    assert "of several rates" in str(error.value)
    assert not any((tmp_path / "cache").glob("*"))
    pack = load_split(tmp_path, "train", reading=Reading(fps=25))
    assert pack.lengths("pose").tolist() == [30, 30, 31]
    assert pack.info["fps"] == 25


@pytest.mark.parametrize("fps", [0, -25, 1 / 25, 90_000, np.nan, np.inf, "25", [25, 25]])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, fps):
    with pytest.raises(UserError, match=r"a\.npz: 'fps' is not a positive number|'fps': it holds complex numbers"):
        read_clip(write(tmp_path, {**made(), "fps": np.array(fps)}), "train", "a")


# ---- numbers that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1e9, -1e4, 641.0, 1.5 * MAX_KEYPOINT])
def test_a_keypoint_far_outside_the_picture_is_refused(tmp_path: Path, number: float):
    arrays = made()
    arrays["keypoints"][12, 40, 1] = number
    with pytest.raises(UserError, match=rf"a\.npz: 'keypoints' holds {number:g} in frame 12".replace("+", r"\+")):
        read_clip(write(tmp_path, arrays), "train", "a")
    arrays["visibility"] = np.ones((FRAMES, layout.NUM_KEYPOINTS))
    arrays["visibility"][12, 40] = 0  # what was not seen may hold anything
    assert np.isfinite(read_clip(write(tmp_path, arrays), "train", "a").pose).all()


@pytest.mark.parametrize("number", [3e38, -1e9, 2 * MAX_NMM, 1e300])
def test_nmms_beyond_any_measure_are_refused(tmp_path: Path, number: float):
    arrays = made()
    arrays["eye_gaze"] = arrays["eye_gaze"].astype(np.float64)
    arrays["eye_gaze"][7, 2] = number
    with pytest.raises(UserError, match=rf"a\.pkl: 'eye_gaze' holds {number:g} in frame 7".replace("+", r"\+")):
        read_clip(write(tmp_path, arrays), "train", "a")


@pytest.mark.parametrize("dtype", [complex, "M8[s]", "U8"])
@pytest.mark.parametrize("key", ["keypoints", "head_pose", "visibility"])
def test_what_is_no_number_is_refused(tmp_path: Path, key: str, dtype):
    arrays = made()
    arrays["visibility"] = np.ones((FRAMES, layout.NUM_KEYPOINTS))
    kind = "U8" if dtype == "U8" else dtype
    arrays[key] = arrays[key].astype(np.int64).astype(kind)
    with pytest.raises(UserError, match=f"'{key}' is |it holds (complex numbers|dates), which are not read"):
        read_clip(write(tmp_path, arrays), "train", "a")


def test_a_pack_keeps_what_was_noted(tmp_path: Path):
    write_data(tmp_path, {"train": [5, 6]})
    arrays = made()
    arrays["keypoints"][25:], arrays["head_pose"][25:] = 0, np.nan
    for key in layout.NMM_FEATURES:
        arrays[key][25:] = np.nan
    write(tmp_path, {**arrays, "score": np.ones(1)}, "train1")
    info = load_split(tmp_path, "train").info
    assert info["fps"] is None
    assert info["notes"] == {
        "frames at the ends saw nothing and were left out": {"clips": 1, "frames": 5, "first": "train1"},
        "'score' of .npz files is not read": {"clips": 1, "frames": 0, "first": "train1"},
    }
    assert load_split(tmp_path, "train").info == info  # read again
    assert files.list_clips(tmp_path, "train").keys() == {"train0", "train1"}
