"""What each metric must say on clips whose answer is known."""

import dataclasses
import json
import math

import numpy as np
import pytest
from dtaidistance import dtw_ndim
from dtw import dtw as dtw_python

from evaluation import metrics, recognition, sync
from evaluation.clips import Clip, Reference
from evaluation.distribution import spread
from evaluation.evaluator import score_clips
from evaluation.registry import remarks
from evaluation.summary import summarise
from poses import layout, motion

TEXTS = ("hello", "thanks", "again")


def make_clip(seed: int, frames: int = 24) -> np.ndarray:
    """A smooth random pose [T,214] whose shoulders stay one third apart."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=0.01, size=(frames, layout.POSE_DIM))
    pose = rng.uniform(0.2, 0.8, layout.POSE_DIM) + np.cumsum(steps, axis=0)
    points = pose[:, layout.MANUAL].reshape(frames, layout.NUM_KEYPOINTS, 2)
    points[:, layout.LEFT_SHOULDER], points[:, layout.RIGHT_SHOULDER] = (0.65, 0.4), (0.35, 0.4)
    pose[:, layout.MANUAL] = points.reshape(frames, -1)
    return pose


def make_references(count: int = 6, hide: bool = False) -> list[Reference]:
    references = []
    for n in range(count):
        pose = make_clip(n, frames=20 + n)
        seen = np.ones(pose.shape, bool)
        if hide:
            seen[:, layout.LEFT_HAND] = n % 2  # every second clip never saw its left hand,
            seen[3:11, layout.RIGHT_HAND] = False  # each lost the right one for a while,
            seen[5, layout.EYE_GAZE] = False  # and once the eyes
        references.append(Reference(pose, seen, f"clip{n}", TEXTS[n % len(TEXTS)]))
    return references


def generated(poses: list[np.ndarray]) -> list[Clip]:
    return [Clip.generated(pose) for pose in poses]


def evaluate_row(clips: list[Clip], *args: object, **kwargs: object) -> dict[str, float | int | None]:
    """A row of the report from what needs neither train clips nor an autoencoder."""
    return summarise(score_clips(clips, *args, **kwargs))


def plain_dtw(a: np.ndarray, b: np.ndarray) -> tuple[float, list[tuple[int, int]]]:
    """Full DTW in plain Python: distance and path."""
    best = {(-1, -1): (0.0, None)}
    for i in range(len(a)):
        for j in range(len(b)):
            cost = math.sqrt(sum((x - y) ** 2 for x, y in zip(a[i], b[j], strict=True)))
            before = [c for c in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if c in best]
            step = min(before, key=lambda c: best[c][0])
            best[i, j] = (best[step][0] + cost, step)
    path, cell = [], (len(a) - 1, len(b) - 1)
    while cell != (-1, -1):
        path.append(cell)
        cell = best[cell][1]
    return best[len(a) - 1, len(b) - 1][0], path[::-1]


def test_dtw_agrees_with_plain_python_dtaidistance_and_dtw_python():
    a, b = make_clip(1, 17), make_clip(2, 23)
    distance, path = metrics.dtw(Clip.generated(a), Clip.generated(b))
    total, expected_path = plain_dtw(a, b)
    assert path.tolist() == [list(cell) for cell in expected_path]
    assert distance == pytest.approx(total / len(expected_path), rel=1e-12)
    assert distance == pytest.approx(dtw_ndim.distance_fast(a, b, inner_dist="euclidean") / len(path), rel=1e-12)
    theirs = dtw_python(a, b, dist_method="euclidean", step_pattern="symmetric1")
    assert distance == pytest.approx(theirs.distance / len(theirs.index1), rel=1e-12)


def test_dtw_of_a_hand_made_example():
    """One number moves: 0 2 5 against 0 0 2 5 1. Costs 0 0 0 0 4 on the only cheapest path, over five steps."""
    a, b = np.repeat(make_clip(0, 1), 3, axis=0), np.repeat(make_clip(0, 1), 5, axis=0)
    a[:, 0], b[:, 0] = [0, 2, 5], [0, 0, 2, 5, 1]
    distance, path = metrics.dtw(Clip.generated(a), Clip.generated(b))
    assert path.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [2, 4]]
    assert distance == pytest.approx(4 / 5)


def test_dtw_mje_is_the_mean_distance_of_keypoints_in_the_plane():
    reference = np.repeat(make_clip(0, 1), 8, axis=0)
    prediction = reference.copy()
    prediction[:, layout.MANUAL] += np.tile([0.3, 0.4], layout.NUM_KEYPOINTS)
    prediction[:, layout.NMM] += 100  # keypoints only
    errors, _ = metrics.dtw_mje(Clip.generated(prediction), Clip.generated(reference))
    assert tuple(errors.values()) == pytest.approx((0.5, 0.5, 0.5, 0.5))


def test_mse_by_part_frame_by_frame_and_along_the_path():
    reference = Clip.generated(make_clip(0))
    prediction = Clip.generated(reference.pose.copy())
    prediction.pose[:, layout.NMM] += 2
    errors = metrics.mean_squared_errors(prediction, reference, path=None)
    assert (errors["mse_manual"], errors["mse_nmm"]) == pytest.approx((0, 4))
    assert errors["mse"] == pytest.approx(4 * layout.NMM_DIM / layout.POSE_DIM)
    assert not errors["mse_aligned"]
    slow = Clip.generated(np.repeat(reference.pose, 2, axis=0))
    _, path = metrics.dtw(slow, reference)
    errors = metrics.mean_squared_errors(slow, reference, path)
    assert errors["mse_aligned"]
    assert errors["mse"] == pytest.approx(0)


def face_correlation(prediction: np.ndarray, reference: np.ndarray, scale: np.ndarray | None = None) -> float:
    prediction, reference = Clip.generated(prediction), Clip.generated(reference)
    scale = sync.nmm_scale([reference]) if scale is None else scale
    return metrics.face_correlation(prediction, reference, metrics.dtw_mje(prediction, reference)[1], scale)


def test_the_face_follows_the_reference_or_the_hands():
    """1 for the same face, however slow and wherever it is; 0 for one that stands still; -1 for its mirror image."""
    reference = make_clip(0)
    reference[:, layout.NMM] *= 0.01  # so that the path is that of the body
    other = reference.copy()
    other[:, layout.NMM] = 0.7 + 2 * reference[:, layout.NMM]
    assert face_correlation(reference, reference) == pytest.approx(1)
    assert face_correlation(other, reference) == pytest.approx(1)
    assert face_correlation(np.repeat(other, 2, axis=0), reference) == pytest.approx(1)
    other[:, layout.NMM] = 0.7 - reference[:, layout.NMM]
    assert face_correlation(other, reference) == pytest.approx(-1)
    other[:, layout.NMM] = 0.7
    assert face_correlation(other, reference) == 0
    assert math.isnan(face_correlation(reference, other, np.ones(layout.NMM_DIM)))

    other[:, layout.MOUTH_SHAPE] = reference[:, layout.MOUTH_SHAPE]  # one feature of four, though most of the numbers
    assert face_correlation(other, reference) == pytest.approx(1 / 4)
    still = reference.copy()
    still[:, layout.EYE_GAZE] = 0.3
    assert face_correlation(other, still, np.ones(layout.NMM_DIM)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_two_unrelated_faces_do_not_correlate_in_any_unit(unit: float):
    """The alignment does not follow the face: it would make any two faces alike, the more the larger their numbers."""
    clips = [make_clip(seed) for seed in range(40)]
    for clip in clips:
        clip[:, layout.NMM] *= unit
    assert abs(np.mean([face_correlation(clip, clips[0]) for clip in clips[1:]])) < 0.1


def test_a_feature_of_the_face_that_a_clip_lacks_costs():
    """Zeros throughout are worth no more than a still face; what the reference lacks counts for neither."""
    (reference,) = make_references(1)
    scale, lacking = np.full(layout.NMM_DIM, 0.1), reference.pose.copy()
    lacking[:, layout.EYE_GAZE] = lacking[:, layout.MOUTH_SHAPE] = 0
    clip = Clip.generated(lacking)
    scores = metrics.closeness_scores(clip, reference, scale)
    assert scores["dtw"] > 1
    assert scores["mse_nmm"] > 0.1
    assert scores["face_correlation"] == pytest.approx(1 / 2)
    still = reference.pose.copy()
    still[:, layout.EYE_GAZE] = still[:, layout.MOUTH_SHAPE] = 0.5
    both = [sync.sync_scores(c, reference, scale)["face_speeds"] for c in (clip, Clip.generated(still))]
    assert both[0][0] == pytest.approx(both[1][0])
    assert both[0][0] < 0.8 * both[0][1]

    away = lacking.copy()  # where the face is not there at all, nothing stands still
    away[: len(away) // 2, layout.NMM] = 0
    with_face, without = (
        sync.with_reference_face(Clip.generated(pose), reference, scale)[0].seen[:3] for pose in (lacking, away)
    )
    assert with_face[:, layout.NMM].all()
    assert not without[:, layout.NMM].any()

    less = Reference(clip.pose, clip.seen, "less", "")
    scores = metrics.closeness_scores(reference, less, scale)
    assert scores["dtw"] == pytest.approx(0)
    made, real = sync.sync_scores(reference, less, scale)["face_speeds"]
    assert made == pytest.approx(real)


def test_the_reference_scores_perfect():
    references = make_references(8, hide=True)
    row = evaluate_row(references, references)
    assert row["face_correlation"] == pytest.approx(1)
    for name in (
        "dtw",
        "dtw_mje",
        "mse",
        "mse_manual",
        "mse_nmm",
        "sync_correlation_difference",
        "sync_lag_difference",
    ):
        assert row[name] == 0, name
    assert row["recognition"] == row["recognition_top5"] == 1
    assert row["motion_ratio"] == 1
    assert row["mse_aligned"] == row["sync_undefined"] == 0


def test_a_still_pose_does_not_move_and_has_no_sync_and_no_nan_in_json():
    references = make_references()
    still = np.mean([reference.pose.mean(0) for reference in references], axis=0)
    row = evaluate_row(generated([np.repeat(still[None], 12, axis=0)] * len(references)), references)
    assert row["motion_ratio"] == 0
    assert row["sync_correlation"] is row["sync_lag"] is row["sync_correlation_difference"] is None
    assert row["sync_undefined"] == row["mse_aligned"] == len(references)
    assert row["speed_ratio"] == row["jerk_ratio"] == row["face_motion_ratio"] == 0
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_row_holds_every_key_of_the_report():
    references = make_references(2)
    row = evaluate_row(references, references)
    expected = "dtw dtw_mje recognition motion_ratio sync_correlation sync_lag mse mse_manual mse_nmm recognition_top5"
    assert set(expected.split()) <= row.keys()


@pytest.mark.parametrize("lag", [-4, 0, 1, 6])
def test_a_face_shifted_by_k_frames_against_the_hands_has_lag_k(lag):
    speed = np.abs(np.random.default_rng(0).normal(size=50)) * 0.01
    pose = np.repeat(make_clip(0)[:1], 50, axis=0)
    pose[:, layout.HANDS] += np.cumsum(speed)[:, None]
    pose[:, layout.NMM] += np.cumsum(np.roll(speed, lag))[:, None]
    seen = np.ones(pose.shape, bool)
    hands, face = motion.hand_energy(pose, seen), motion.face_energy(pose, seen, np.ones(layout.NMM_DIM))
    assert sync.sync_lag(hands, face, max_lag=8) == abs(lag)
    correlation = sync.sync_correlation(hands, face)
    assert correlation == pytest.approx(1) if lag == 0 else correlation < 0.8


def test_the_noise_of_a_detector_is_no_motion_of_the_face_and_no_lack_of_synchrony():
    """Hands and face that move together in slow waves: noise in both leaves correlation and face motion as they are."""
    rng, frames = np.random.default_rng(0), 120
    wave = np.cumsum(1 + np.sin(np.arange(frames) / 6))[:, None]
    clean = np.repeat(make_clip(0)[:1], frames, axis=0).astype(np.float64)
    clean[:, layout.HANDS] += 0.01 * wave
    clean[:, layout.NMM] += 0.05 * wave
    noisy = clean + 0.01 * rng.normal(size=clean.shape) * (1 + 4 * (np.arange(layout.POSE_DIM) >= layout.NMM.start))
    reference, clip = (Clip(pose.astype(np.float32), np.ones(pose.shape, bool)) for pose in (noisy, clean))
    scores = sync.sync_scores(clip, reference, sync.nmm_scale([reference]))
    of_clip, of_reference, null = scores["sync_correlation"]
    assert of_clip > 0.95
    assert of_reference > 0.9
    assert abs(null) < 0.1
    assert scores["face_speeds"][0] / scores["face_speeds"][1] == pytest.approx(1, abs=0.05)
    raw = [motion.face_energy(pose, reference.seen, sync.nmm_scale([reference])).mean() for pose in (clean, noisy)]
    assert raw[0] / raw[1] < 0.8  # without smoothing the face that is seen without noise seems to move less


@pytest.mark.parametrize("frames", [30, 120])
def test_independent_noise_is_not_in_synchrony(frames: int):
    """Not even at the ends of clips, where smoothing lacks what lies beyond."""
    rng, correlations = np.random.default_rng(0), []
    for _ in range(40):
        pose = 0.5 + 0.01 * rng.normal(size=(frames, layout.POSE_DIM))
        energies = sync.smooth_energies(Clip(pose.astype(np.float32), np.ones(pose.shape, bool)), np.ones(64))
        correlations.append(sync.sync_correlation(*energies))
    assert np.mean(correlations) == pytest.approx(0, abs=0.12)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 12])
def test_short_clips_have_energies_of_both(frames: int):
    pose = np.random.default_rng(0).normal(size=(frames, layout.POSE_DIM)).astype(np.float32)
    hands, face = sync.smooth_energies(Clip(pose, np.ones(pose.shape, bool)), np.ones(64))
    assert len(hands) == len(face) == frames - 1 - 2 * ((frames - 1) // 6)


def test_no_feature_of_the_face_outweighs_another():
    """Each of the four features, moving by one scale a frame in all its numbers, adds a quarter of the energy."""
    scale = np.random.default_rng(0).uniform(0.01, 10, layout.NMM_DIM)
    for group in layout.NMM_SLICES.values():
        pose = np.zeros((4, layout.POSE_DIM))
        pose[:, group] = np.arange(4)[:, None]
        pose[:, layout.NMM] *= scale
        assert motion.face_energy(pose, pose == pose, scale) == pytest.approx(np.full(3, 0.25))


def test_an_unseen_hand_moves_as_its_wrist_does():
    pose = np.zeros((6, layout.POSE_DIM))
    wrists = layout.keypoint_dims(np.array([layout.LEFT_WRIST, layout.RIGHT_WRIST]))
    pose[:, wrists] = np.arange(6)[:, None] * np.tile([0.03, 0.04], 2)
    pose[:, layout.HANDS] = np.random.default_rng(0).normal(size=(6, 84))
    seen = np.ones(pose.shape, bool)
    seen[:, layout.HANDS] = False
    assert motion.hand_energy(pose, seen) == pytest.approx(np.full(5, 0.05))


def test_motion_ratio_follows_the_speed_and_not_the_place_or_the_size():
    references = make_references(3)
    halved = [np.repeat(r.pose.mean(0)[None], len(r.pose), 0) * 0.5 + r.pose * 0.5 for r in references]
    elsewhere = [pose.copy() for pose in halved]
    for pose in elsewhere:
        pose[:, layout.MANUAL] = pose[:, layout.MANUAL] * 3 + 7
    for predictions in (halved, elsewhere):
        assert evaluate_row(generated(predictions), references)["motion_ratio"] == pytest.approx(0.5)


def test_hands_that_circle_in_one_place_have_motion_and_none_that_stays():
    """A still pose whose hands circle: no jerk above the real one's, and the speed of signing."""
    arms, references = layout.keypoint_dims(motion.WRISTS_AND_HANDS), []
    for reference in make_references():
        reference.pose[:, arms] += 0.2 * np.sin(np.linspace(0, 6, len(reference.pose)))[:, None]
        references.append(reference)
    circling = []
    for reference in references:
        phase = 2 * np.pi * np.arange(len(reference.pose)) / 7
        circle = 0.055 * np.stack([np.sin(phase), np.cos(phase)], axis=1)
        pose = np.repeat(reference.pose.mean(0)[None], len(phase), 0)
        pose[:, arms] += np.tile(circle, len(arms) // 2)
        circling.append(pose)
    row = evaluate_row(generated(circling), references)
    assert 0.8 < row["motion_ratio"] < 1.2
    assert row["jerk_ratio"] < 1.5
    assert row["motion_ratio_smoothed"] < 0.4
    assert evaluate_row(references, references)["motion_ratio_smoothed"] == 1


def test_a_signer_who_jumps_as_a_whole_shows_in_the_sway_alone():
    rng, references = np.random.default_rng(0), []
    for reference in make_references():
        moved = np.cumsum(rng.normal(scale=0.003, size=(len(reference.pose), 2)), axis=0)
        reference.pose[:, layout.MANUAL] += np.tile(moved, layout.NUM_KEYPOINTS)
        references.append(reference)
    jumping, elsewhere = ([reference.pose.copy() for reference in references] for _ in range(2))
    for pose in jumping:
        pose[:, layout.MANUAL] += np.tile(rng.normal(scale=0.02, size=(len(pose), 2)), layout.NUM_KEYPOINTS)
    for pose in elsewhere:
        pose[:, layout.MANUAL] = pose[:, layout.MANUAL] * 3 + 7
    assert evaluate_row(references, references)["sway_ratio"] == 1
    assert evaluate_row(generated(elsewhere), references)["sway_ratio"] == pytest.approx(1)
    row = evaluate_row(generated(jumping), references)
    assert row["sway_ratio"] > 5
    for name in ("motion_ratio", "speed_ratio", "jerk_ratio"):
        assert row[name] == pytest.approx(1)
    lost = [clip.pose[:1] for clip in references[:3]]  # a picture, and then clips without shoulders, stand still
    for n in range(1, 3):
        lost[n] = np.where(np.arange(layout.POSE_DIM) < layout.NMM.start, 0, references[n].pose)
    scores = score_clips([*generated(lost), *references[3:]], references)
    assert (scores["sways"][:3, 0] == 0).all()
    assert (scores["sways"][:3, 1] > 0).all()


def test_clips_that_stand_still_are_counted_though_others_move_twice_as_fast():
    """The ratio of the sums shows neither, whichever row it is."""
    references = make_references()
    rng = np.random.default_rng(0)
    still = [np.repeat(r.pose[9:10], len(r.pose), 0) + 1e-4 * rng.normal(size=r.pose.shape) for r in references[::2]]
    fast = [np.repeat(r.pose.mean(0)[None], len(r.pose), 0) * -1 + r.pose * 2 for r in references[1::2]]
    row = evaluate_row(generated([pose for pair in zip(still, fast, strict=True) for pose in pair]), references)
    assert row["motion_ratio"] == pytest.approx(1, abs=0.2)
    assert row["still_clips"] == 3
    (said,) = (remark for remark in remarks(row, 6) if "speed" in remark)
    assert said.startswith("hands move at less than 0.2 of their reference's speed in 3 clips")
    assert evaluate_row(references, references)["still_clips"] == 0


def test_what_the_reference_did_not_see_changes_no_metric():
    references = make_references(hide=True)
    rng = np.random.default_rng(1)
    predictions = generated([make_clip(50 + n, 18 + n) for n in range(len(references))])
    scores = score_clips(predictions, references)
    for value in (1e6, math.nan):
        spoilt = [
            dataclasses.replace(r, pose=np.where(r.seen, r.pose, value * rng.uniform(size=r.pose.shape)))
            for r in references
        ]
        for name, values in score_clips(predictions, spoilt).items():
            np.testing.assert_array_equal(values, scores[name], err_msg=name)


def test_keypoints_of_the_body_never_seen_ask_nothing_of_the_prediction():
    pose = make_clip(3)
    legs = layout.keypoint_dims(slice(layout.RIGHT_HIP + 1, layout.NUM_BODY))
    seen = np.ones(pose.shape, bool)
    seen[:, legs] = False
    prediction = pose.copy()
    prediction[:, legs] += 5
    row = evaluate_row([Clip.generated(prediction)], [Reference(pose, seen, "a", "hello")])
    assert (row["dtw"], row["dtw_mje"], row["mse"], row["mse_manual"]) == (0, 0, 0, 0)
    assert row["motion_ratio"] == pytest.approx(1)


def test_a_prediction_gains_nothing_by_not_seeing():
    """With every number wrong by the same amount, the distance is the same whatever the prediction did not see."""
    pose = make_clip(3)
    seen = np.ones(pose.shape, bool)
    seen[:, layout.BODY] = False
    whole, _ = metrics.dtw(Clip.generated(pose + 1), Clip.generated(pose))
    partly, _ = metrics.dtw(Clip(pose + 1, seen), Clip.generated(pose))
    assert partly == pytest.approx(whole)


@pytest.mark.parametrize("lengths", [(5, 9, 16), (1, 1), (1, 2)])
def test_recognition_distance_is_dtw_whatever_the_length_of_the_clips_beside_it(lengths):
    """Against plain Python, with clips of several lengths in one padded chunk, moved and scaled as a whole."""
    clips = [make_clip(n, frames) for n, frames in enumerate(lengths)]
    gallery = [make_clip(10 + n, frames) for n, frames in enumerate((12, 4))]
    moved = [np.concatenate([c[:, layout.MANUAL] * 2.5 + 1, c[:, layout.NMM]], axis=1) for c in clips]
    distances = recognition.sign_distances(generated(moved), generated(gallery))
    for n, clip in enumerate(clips):
        for m, other in enumerate(gallery):
            a, b = (
                motion.shoulder_frame(c, np.ones(c.shape, bool))[:, layout.ARMS_AND_HANDS].reshape(len(c), -1)
                for c in (clip, other)
            )
            total, path = plain_dtw(a, b)
            rms = total / len(path) / math.sqrt(len(layout.ARMS_AND_HANDS))
            assert distances[n, m] == pytest.approx(rms, rel=1e-6)


def test_a_clip_given_twice_has_the_same_distances_and_none_to_itself():
    clips = generated([make_clip(n, 6 + n) for n in range(3)])
    unseen = Clip(clips[0].pose, np.zeros((6, layout.POSE_DIM), bool))
    distances = recognition.sign_distances([clips[1], clips[0], clips[1], unseen], clips)
    assert (distances[0] == distances[2]).all()
    assert (distances[0, 1], distances[1, 0]) == (0, 0)
    assert np.count_nonzero(distances == 0) == 3
    assert np.isinf(distances[3]).all()


def test_recognition_follows_the_texts_not_the_order():
    references = make_references(8)
    rng = np.random.default_rng(0)
    clips = generated([r.pose + rng.normal(scale=0.002, size=r.pose.shape) for r in references])
    texts = [r.text for r in references]
    first, among = recognition.recognition_scores(clips, texts, references[::-1]).values()
    assert first.all()
    assert among.all()
    first, _ = recognition.recognition_scores(clips[1:] + clips[:1], texts, references).values()
    assert not first.any()


def test_a_clip_that_is_one_of_the_references_is_not_recognised_by_itself():
    references = make_references(8)
    clip = references[0]
    for number, moved in ((1, 1e-3), (3, 2e-3)):  # of another text, and of the same
        pose = clip.pose.copy()
        pose[:, layout.HANDS] += moved
        references[number] = dataclasses.replace(references[number], pose=pose, seen=clip.seen)
    clips, texts = [clip] * 8, [clip.text] * 8
    first, _ = recognition.recognition_scores(clips, texts, references).values()
    assert first.all()
    first, among = recognition.recognition_scores(clips, texts, references, from_references=True).values()
    assert not first.any()
    assert among.all()


def test_a_full_stop_makes_no_other_text():
    references = make_references()
    clips, texts = generated([r.pose for r in references]), [r.text for r in references]
    otherwise = [f"{text.upper()}." for text in texts]
    expected = recognition.recognition_scores(clips[1:] + clips[:1], texts, references)
    found = recognition.recognition_scores(clips[1:] + clips[:1], otherwise, references)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert recognition.recognition_scores(clips, otherwise, references)["recognition"].all()
    np.testing.assert_array_equal(spread(clips, ["a", "A.", *"bcde"]), spread(clips, ["a", "a", *"bcde"]))


def without_texts(references: list[Reference], chosen: list[int], text: str = "") -> list[Reference]:
    return [dataclasses.replace(r, text=text) if n in chosen else r for n, r in enumerate(references)]


@pytest.mark.parametrize("nothing", ["", "  ", "...", "-"])
def test_without_texts_there_is_no_recognition_and_no_diversity(nothing):
    """White noise would else be recognised, as all clips have the same text."""
    references = without_texts(make_references(), [*range(6)], nothing)
    noise = generated([np.random.default_rng(n).normal(size=(12, layout.POSE_DIM)) for n in range(6)])
    row = evaluate_row(noise, references)
    assert row["recognition"] is row["recognition_top5"] is row["recognition_low"] is None
    assert row["recognition_clips"] == 0
    assert np.isnan(spread(noise, [nothing] * 6)).all()


def test_where_all_clips_have_one_text_nothing_can_be_recognised():
    references = [dataclasses.replace(r, text="hello") for r in make_references()]
    assert evaluate_row(references, references)["recognition"] is None


def test_among_fewer_than_five_clips_of_another_text_any_clip_finds_its_own():
    """So that says nothing, and is no figure; the nearest clip alone may still be wrong."""
    for count, known in ((5, False), (6, True)):
        references = [dataclasses.replace(r, text=f"text {n}") for n, r in enumerate(make_references(count))]
        wrong = evaluate_row(generated([r.pose for r in references[1:] + references[:1]]), references)
        assert wrong["recognition"] == 0
        assert (wrong["recognition_top5"] is not None) == known


def test_clips_without_a_text_change_no_figure_that_needs_texts():
    """Neither as clips nor as neighbours: the figures are those of the other clips alone."""
    references = without_texts(make_references(8), [1, 4])
    clips = generated([r.pose[::-1] for r in references])
    clips[2] = Clip.generated(references[1].pose)  # nearest to a clip without a text
    labelled = [n for n in range(8) if n not in (1, 4)]
    row = evaluate_row(clips, references)
    alone = evaluate_row([clips[n] for n in labelled], [references[n] for n in labelled])
    assert row["recognition_clips"] == alone["recognition_clips"] == 6
    for name in ("recognition", "recognition_top5"):
        assert row[name] == alone[name]
    texts = [r.text for r in references]
    of_labelled = spread([clips[n] for n in labelled], [texts[n] for n in labelled])
    np.testing.assert_array_equal(spread(clips, texts)[labelled], of_labelled)
    assert np.isnan(spread(clips, texts)[[1, 4]]).all()


def test_a_clip_that_is_none_has_no_figure():
    references = make_references(3)
    scores = score_clips([Clip.of_nothing(20), *references[1:]], references)
    undefined = {name for name, values in scores.items() if np.isnan(values[0]).any()}
    assert undefined >= {"dtw", "dtw_mje", "mse", "hand_speeds", "speeds", "jerks", "face_speeds", "sync_correlation"}
    row = summarise(scores)
    assert row["compared_clips"] == row["motion_clips"] == 2
    assert row["motion_ratio"] == 1
    assert row["dtw"] == 0


def test_without_shoulders_nothing_is_recognised():
    references = make_references(8)
    clips = [Clip(r.pose, r.seen.copy()) for r in references]
    clips[0].seen[:, layout.keypoint_dims(np.array([layout.LEFT_SHOULDER]))] = False
    first, among = recognition.recognition_scores(clips, [r.text for r in references], references).values()
    assert first.tolist() == among.tolist() == [False] + [True] * 7


def test_workers_change_no_figure():
    references = make_references(hide=True)
    predictions = generated([make_clip(50 + n, 18 + n) for n in range(len(references))])
    rows = [evaluate_row(predictions, references, num_workers=n) for n in (1, 2)]
    assert rows[0] == rows[1]


def test_each_clip_has_its_values_and_any_selection_makes_a_row():
    references = make_references()
    predictions = generated([make_clip(50 + n) for n in range(len(references))])
    scores = score_clips(predictions, references)
    assert {len(values) for values in scores.values()} == {len(references)}
    one = summarise({name: values[2:3] for name, values in scores.items()})
    assert one["dtw"] == pytest.approx(scores["dtw"][2].item())
    order = np.roll(np.arange(len(references)), 1)
    moved = score_clips([predictions[n] for n in order], [references[n] for n in order])
    for name, values in scores.items():
        np.testing.assert_allclose(moved[name], values[order], err_msg=name)


def test_one_frame_has_no_motion():
    reference = Reference(make_clip(0, 1), np.ones((1, layout.POSE_DIM), bool), "a", "hello")
    row = evaluate_row(generated([make_clip(1, 1)]), [reference])
    assert row["motion_ratio"] is row["sync_correlation"] is row["sync_lag"] is None
    assert row["dtw"] > 0


def test_a_clip_that_lost_its_body_stands_still_beside_a_reference_that_moves():
    """Left out, it would raise the motion of the row."""
    references = make_references()
    point, face = np.full((20, layout.POSE_DIM), 1e-9), references[1].pose.copy()
    face[:, layout.MANUAL] = 0
    scores = score_clips([*generated([point, face]), *references[2:]], references)
    for name in ("hand_speeds", "speeds", "jerks"):
        assert (scores[name][:2, 0] == 0).all()
        assert (scores[name][:2, 1] > 0).all()
    row = summarise(scores)
    assert row["motion_ratio"] == pytest.approx(scores["hand_speeds"][2:, 1].sum() / scores["hand_speeds"][:, 1].sum())
    assert (row["motion_clips"], row["still_clips"]) == (6, 2)


def test_a_clip_of_one_frame_stands_still_beside_a_reference_that_moves():
    """Left out, clips that are pictures would hide behind the motion of the others."""
    references = make_references()
    pictures = [Clip(r.pose[:1], r.seen[:1]) if n < 3 else r for n, r in enumerate(references)]
    scores = score_clips(pictures, references)
    for name in ("hand_speeds", "speeds", "jerks", "face_speeds"):
        assert (scores[name][:3, 0] == 0).all()
        assert (scores[name][:3, 1] > 0).all()
    row = summarise(scores)
    assert row["motion_ratio"] == pytest.approx(scores["hand_speeds"][3:, 1].sum() / scores["hand_speeds"][:, 1].sum())
    assert row["motion_clips"] == 6
