"""What counts as seen: missing points in every way of writing them, scores, and what is no score."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pose_format import Pose
from recordings import (
    CENTRE,
    FACE,
    FRAMES,
    HOLISTIC,
    IN_UNITS,
    POINTS,
    SIZE,
    keypoints,
    mmpose_frames,
    nmm,
    openpose_person,
    read_keypoints,
    report_of,
    scored,
    whole_body,
    with_depth,
    write_dwpose,
    write_openpose,
    write_pose_file,
)

from importers import spelling
from importers.skeletons import OPENPOSE_18
from poses import layout
from poses.files import read_clip


@pytest.mark.parametrize("missing", [np.nan, 0.0])
def test_missing_numbers_stay_missing(missing: float, imported, tmp_path: Path):
    values = np.concatenate([with_depth(POINTS), FACE], axis=1)
    values[3:9, layout.LEFT_HAND_KEYPOINTS] = missing
    values[5:, 75:] = missing  # the face
    np.save(tmp_path / "in" / "clip.npy", values)
    folder = imported("--source_fps 25 --width 640 --height 480")
    _, seen = keypoints(folder)
    assert not seen[3:9, layout.LEFT_HAND_KEYPOINTS].any()
    assert seen[:3].all()
    assert (np.isnan(nmm(folder)).all(1) == (np.arange(FRAMES) >= 5)).all()
    clip = read_clip(folder, "train", "clip")
    assert not clip.seen[5:, layout.NMM].any()


MISSING_IN = {  # by unit: how programs write a hand that they did not find
    "signed": [np.nan, 0.0, -1.0],
    "pixels": [np.nan, 0.0, -1.0],
    "shoulders": [np.nan, 0.0, (0 - CENTRE) / 0.24],  # zeros that were centred with the rest
}


@pytest.mark.parametrize(("unit", "missing"), [(unit, way) for unit, ways in MISSING_IN.items() for way in ways])
def test_a_missing_hand_stays_missing_in_every_unit(unit: str, missing: object, imported, tmp_path: Path):
    values = IN_UNITS[unit].copy()
    values[3:12, layout.LEFT_HAND_KEYPOINTS] = np.broadcast_to(missing, (FRAMES, 1, 2))[3:12]
    single = 2 * (np.ndim(missing) == 0)  # frames without an ear, where one point alone can tell
    values[:single, layout.LEFT_EAR] = np.ravel(missing)[0]
    np.save(tmp_path / "in" / "clip.npy", values)
    size = "--width 1280 --height 720" if unit == "pixels" else ""
    folder = imported(f"--source_fps 25 --units {unit} {size}")
    _, seen = keypoints(folder)
    assert not seen[3:12, layout.LEFT_HAND_KEYPOINTS].any()
    assert not seen[:single, layout.LEFT_EAR].any()
    assert seen.sum() == seen.size - 9 * layout.NUM_HAND - single
    assert f"left hand {(FRAMES - 9) / FRAMES:.0%}" in report_of(folder)


def test_unseen_points_that_a_crop_has_moved_are_told(imported, tmp_path: Path):
    """Marked by (0, 0) before a crop, they all lie in one place after it, and would count as seen."""
    told = "points of the body lie in one and the same place in most frames"
    points = POINTS.copy()
    points[:, 25:33] = 0  # the legs
    np.save(tmp_path / "in" / "clip.npy", points)
    assert told not in report_of(imported("--source_fps 25", "whole"))
    np.save(tmp_path / "in" / "clip.npy", points - [0.05, 0.0])
    assert f"note: 8 {told}" in report_of(imported("--source_fps 25", "cropped"))


def test_hands_without_a_body_are_told(imported, tmp_path: Path):
    write_openpose(tmp_path / "in" / "clip", [POINTS * SIZE])
    for path in sorted((tmp_path / "in" / "clip").glob("*.json"))[4:6]:
        content = json.loads(path.read_text())
        content["people"][0]["pose_keypoints_2d"] = [0.0] * 75
        path.write_text(json.dumps(content))
    folder = imported("--source_fps 24 --width 1280 --height 720")
    assert not keypoints(folder)[1][4:6].any()
    told = "frames that show a hand, but neither nose nor shoulders, and count as unseen: 2"
    assert told in report_of(folder)


def test_half_a_hand_counts_as_seen_in_the_report(imported, tmp_path: Path):
    values = POINTS.copy()
    values[:, layout.LEFT_HAND_KEYPOINTS.start + 3] = np.nan  # one of its 21 points
    np.save(tmp_path / "in" / "clip.npy", values)
    assert "left hand 100%" in report_of(imported("--source_fps 25"))


@pytest.mark.parametrize("key", ["visibility", "confidence", "scores", "keypoint_scores"])
def test_an_archive_says_what_was_seen_and_at_which_rate(key: str, imported, tmp_path: Path):
    scores = np.full((FRAMES, 75), 0.9)
    scores[3:9, layout.LEFT_HAND_KEYPOINTS] = 0
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, fps=50, box=np.ones((FRAMES, 4)), **{key: scores})
    folder = imported("--source_fps 25")
    _, seen = keypoints(folder)
    assert np.array_equal(seen, scores > 0)
    with np.load(folder / "train" / "poses" / "clip.npz") as archive:
        assert archive["fps"] == 50
        np.testing.assert_allclose(archive["visibility"], scores, atol=1e-6)
    assert "box beside the points: not read: clip.npz" in report_of(folder)


@pytest.mark.parametrize("shape", [(75, 3), (75, 4), (133, 3)])
def test_a_score_a_little_above_one_is_a_score(shape: tuple[int, int], imported, tmp_path: Path):
    values = scored(whole_body(POINTS) if shape[0] == 133 else POINTS)
    if shape[1] == 4:
        values = np.concatenate([values[..., :2], values[..., :1], values[..., 2:]], axis=2)
    left = slice(91, 112) if shape[0] == 133 else layout.LEFT_HAND_KEYPOINTS
    values[3:9, left, -1] = 0
    values[0, 0, -1] = 1.02
    np.save(tmp_path / "in" / "clip.npy", values)
    _, seen = keypoints(imported("--source_fps 25"))
    expected = np.ones(FRAMES, bool)
    expected[3:9] = False
    assert np.array_equal(seen[:, layout.LEFT_HAND_KEYPOINTS].all(1), expected)


@pytest.mark.parametrize(
    ("third", "said"),
    [
        (0.4, "the third number of a point is never far below 0, so it is taken for a score and not for depth"),
        (-0.4, "the third number of a point is taken for its depth"),
    ],
)
def test_the_report_says_what_the_third_number_was_taken_for(third: float, said: str, imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", scored(POINTS, third))
    assert f"note: {said}: clip.npy" in report_of(imported("--source_fps 25"))
    np.savez(tmp_path / "in" / "clip.npz", keypoints=scored(POINTS, third), scores=np.ones((FRAMES, 75)))
    (tmp_path / "in" / "clip.npy").unlink()
    report = report_of(imported("--source_fps 25", "archive"))
    assert ("is not read, as scores stand beside it: clip.npz" in report) == (third > 0)
    np.save(tmp_path / "in" / "clip.npy", POINTS)
    (tmp_path / "in" / "clip.npz").unlink()
    assert "third number" not in report_of(imported("--source_fps 25", "flat"))


@pytest.mark.parametrize("face", [False, True])
def test_a_body_with_visibility_beside_hands_with_depth_keeps_it(face: bool, imported, tmp_path: Path):
    """As extractors write it that take x, y and visibility of the body, and x, y and z of hands and face."""
    body = np.concatenate([POINTS[:, :33], np.linspace(0.0, 1.0, FRAMES)[:, None, None].repeat(33, 1)], axis=2)
    parts = [body, FACE] if face else [body]
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([*parts, with_depth(POINTS[:, 33:])], axis=1))
    folder = imported("--source_fps 25 --width 640 --height 480")
    with np.load(folder / "train/poses/clip.npz") as archive:
        np.testing.assert_allclose(archive["visibility"][:, :33], body[..., 2], atol=1e-6)
        assert (archive["visibility"][:, 33:] == 1).all()
    report = report_of(folder)
    assert "the body's third number lies between 0 and 1, so it is taken for its visibility" in report
    assert np.isfinite(nmm(folder)).all() == face


def test_a_score_a_little_below_0_makes_no_depth_of_the_others(imported, tmp_path: Path):
    values = scored(POINTS, 0.4)
    values[5, layout.LEFT_SHOULDER, 2] = -0.01
    np.save(tmp_path / "in" / "clip.npy", values)
    with np.load(imported("--source_fps 25") / "train/poses/clip.npz") as archive:
        assert archive["visibility"][4, layout.LEFT_SHOULDER] == pytest.approx(0.4)
        assert archive["visibility"][5, layout.LEFT_SHOULDER] == 0


@pytest.mark.parametrize("points", [POINTS, whole_body(POINTS)], ids=["75", "133"])
def test_a_score_is_one_though_what_was_not_found_is_minus_one(points: np.ndarray, imported, tmp_path: Path):
    values = scored(points, 0.4)
    values[(points == 0).all(2)] = -1
    values[3:9, -layout.NUM_HAND :] = -1  # the right hand
    np.save(tmp_path / "in" / "clip.npy", values)
    folder = imported("--source_fps 25")
    assert "it is taken for a score and not for depth" in report_of(folder)
    with np.load(folder / "train/poses/clip.npz") as archive:
        visibility = archive["visibility"][:, layout.RIGHT_HAND_KEYPOINTS]
    expected = np.full((FRAMES, layout.NUM_HAND), 0.4)
    expected[3:9] = 0
    np.testing.assert_allclose(visibility, expected, atol=1e-6)


def test_a_depth_of_whole_bodies_is_no_score(imported, tmp_path: Path):
    np.save(tmp_path / "in" / "clip.npy", with_depth(whole_body(POINTS)))
    folder = imported("--source_fps 25")
    points, seen = keypoints(folder)
    assert seen[:, layout.ARMS_AND_HANDS].all()
    np.testing.assert_allclose(points[:, layout.ARMS_AND_HANDS], POINTS[:, layout.ARMS_AND_HANDS], atol=1e-6)
    assert "note: the third number of a point is taken for its depth: clip.npy" in report_of(folder)


def test_scores_of_whole_bodies_may_exceed_1_as_rtmpose_writes_them(imported, refused, tmp_path: Path):
    whole = whole_body(POINTS)
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([whole, np.full((*whole.shape[:2], 1), 7.5)], axis=2))
    _, seen = keypoints(imported("--source_fps 25"))
    assert seen[:, layout.LEFT_HAND_KEYPOINTS].all()
    np.save(tmp_path / "in" / "clip.npy", np.concatenate([whole, np.full((*whole.shape[:2], 1), 95.0)], axis=2))
    assert "no score from 0 for unseen to 1 for seen" in refused("--source_fps 25")


@pytest.mark.parametrize("score", [95.0, -3.0])
def test_percent_and_logits_are_no_scores(score: float, refused, tmp_path: Path):
    values = np.concatenate([POINTS, np.full((FRAMES, 75, 2), 0.5)], axis=2)
    values[..., 3] = score
    np.save(tmp_path / "in" / "clip.npy", values)
    assert "no score from 0 for unseen to 1 for seen" in refused("--source_fps 25")


def pose_of_score(folder: Path, score: float) -> None:
    letter = next((spelling.find_lexicon() / "ase").glob("*.pose"))
    pose = Pose.read(letter.read_bytes())
    pose.body.confidence[:] = score
    write_pose_file(folder / "clip.pose", pose)


def openpose_of_score(folder: Path, score: float) -> None:
    person = openpose_person(scored(POINTS[0] * SIZE, score))
    (folder / "clip_1_keypoints.json").write_text(json.dumps({"people": [person]}))


def dwpose_of_score(folder: Path, score: float) -> None:
    write_dwpose(folder, POINTS[:1])
    (path,) = folder.iterdir()
    content = json.loads(path.read_text())
    content["person_0"]["left_hand_scores"] = [score] * 21
    path.write_text(json.dumps(content))


def mmpose_of_score(folder: Path, score: float) -> None:
    (frame,) = mmpose_frames(POINTS[:1] * SIZE, score)
    (folder / "clip.json").write_text(json.dumps({"instance_info": [{"frame_id": 1, **frame}]}))


def flat_array_of_score(folder: Path, score: float) -> None:
    body = np.concatenate([with_depth(POINTS[:, :33]), np.full((FRAMES, 33, 1), score)], axis=2)
    hands = with_depth(POINTS[:, 33:]).reshape(FRAMES, -1)
    np.save(folder / "clip.npy", np.concatenate([body.reshape(FRAMES, -1), hands], axis=1))


OF_SCORE = {  # how each format is written, its flags, and the largest score that some detector gives
    "pose": (pose_of_score, "", 1.02),
    "openpose": (openpose_of_score, "--source_fps 24 --width 1280 --height 720", 1.05),
    "dwpose": (dwpose_of_score, "--source_fps 24", 9.5),
    "mmpose": (mmpose_of_score, "--source_fps 24 --width 1280 --height 720", 9.5),
    "flat array": (flat_array_of_score, "--source_fps 24", 1.02),
}


@pytest.mark.parametrize("kind", OF_SCORE)
def test_percent_and_logits_are_no_scores_in_any_format(kind: str, imported, refused, tmp_path: Path):
    write, flags, largest = OF_SCORE[kind]
    for score in (95.0, -3.0):
        write(tmp_path / "in", score)
        assert f"a point's score is {score:g}: no score from 0 for unseen to 1 for seen" in refused(flags)
    write(tmp_path / "in", largest)
    (made,) = imported(flags).glob("train/poses/*")
    assert read_keypoints(made)[1].any()


def test_scores_of_dwposes_bodies_are_kept_where_they_are_no_numbers_of_points(imported, tmp_path: Path):
    points = POINTS.copy()
    points[:, layout.LEFT_EAR] = 0  # -1 among the scores

    def body_scores(change) -> np.ndarray:
        """Visibility [18] of the body's points in the first frame, after a change of their scores [18]."""
        shutil.rmtree(tmp_path / "in" / "clip", ignore_errors=True)
        write_dwpose(tmp_path / "in" / "clip", points)
        for path in (tmp_path / "in" / "clip").iterdir():
            content = json.loads(path.read_text())
            content["person_0"]["body_scores"] = change(np.array(content["person_0"]["body_scores"])).tolist()
            path.write_text(json.dumps(content))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with np.load(imported("--source_fps 24") / "train/poses/clip.npz") as archive:
            return archive["visibility"][0, list(OPENPOSE_18)]

    found = body_scores(lambda numbers: numbers)
    assert set(found) == {0.0, 1.0}
    np.testing.assert_array_equal(body_scores(lambda numbers: np.where(numbers < 0, -1, numbers + 18)), found)
    np.testing.assert_allclose(body_scores(lambda numbers: np.full(18, 0.1)), np.where(found > 0, 0.1, 0), atol=1e-6)


@pytest.mark.parametrize("score", [False, 0.0])
def test_a_hand_of_score_0_throughout_is_not_there(score: float | bool, imported, tmp_path: Path):
    scores = np.ones((FRAMES, 75, 1), type(score))
    scores[:, layout.LEFT_HAND_KEYPOINTS] = score
    np.savez(tmp_path / "in" / "clip.npz", keypoints=POINTS, visibility=scores)
    _, seen = keypoints(imported("--source_fps 25"))
    assert not seen[:, layout.LEFT_HAND_KEYPOINTS].any()
    assert seen.sum() == FRAMES * (75 - layout.NUM_HAND)


UNSCORED_HANDS = {  # how a clip is written whose body has scores, points [T,75,2] and scores [T,75] given
    "x, y, score": lambda points, scores: {"data": np.concatenate([points, scores[..., None]], axis=2)},
    "x, y, z, score": lambda points, scores: {
        "data": np.concatenate([points, np.zeros((FRAMES, 75, 1)), scores[..., None]], axis=2)
    },
    "scores beside": lambda points, scores: {"keypoints": points, "visibility": scores},
}


@pytest.mark.parametrize("way", UNSCORED_HANDS)
@pytest.mark.parametrize("missing", [0, -1])
def test_hands_are_found_by_their_points_where_mediapipe_gives_them_no_visibility(
    missing: int, way: str, imported, tmp_path: Path
):
    points, scores = POINTS.copy(), np.full((FRAMES, 75), 0.9)
    scores[:, 33:] = 0
    points[3:9, layout.LEFT_HAND_KEYPOINTS] = scores[3:9, layout.LEFT_HAND_KEYPOINTS] = missing
    np.savez(tmp_path / "in" / "clip.npz", **UNSCORED_HANDS[way](points, scores))
    folder = imported("--source_fps 25")
    _, seen = keypoints(folder)
    assert seen[:, layout.RIGHT_HAND_KEYPOINTS].all()
    assert np.flatnonzero(~seen[:, layout.LEFT_HAND_KEYPOINTS].any(1)).tolist() == [*range(3, 9)]
    said = "hands have visibility 0 throughout, as MediaPipe writes it; what has coordinates counts as seen"
    assert f"note: {said}: clip.npz" in report_of(folder)


def test_a_face_is_seen_where_it_has_depth_and_a_score(imported, tmp_path: Path):
    whole = np.concatenate([POINTS[:, :33], FACE[..., :2], POINTS[:, 33:]], axis=1)
    scores = np.ones(whole.shape[:2])
    np.savez(tmp_path / "in" / "clip.npz", keypoints=whole, visibility=scores)
    assert np.isnan(nmm(imported("--source_fps 25", "flat"))).all()  # no depth, no angles
    scores[3:9, 33 : 33 + len(FACE[0])] = 0
    whole = HOLISTIC
    np.savez(tmp_path / "in" / "clip.npz", keypoints=whole, visibility=scores)
    seen = np.isfinite(nmm(imported("--source_fps 25 --width 640 --height 480", "deep"))).all(1)
    assert np.flatnonzero(~seen).tolist() == [*range(3, 9)]


@pytest.mark.parametrize("beside", [False, True])
def test_a_face_is_found_by_its_points_where_mediapipe_gives_it_no_visibility(beside: bool, imported, tmp_path: Path):
    whole = HOLISTIC
    whole[3:9, 33 : 33 + len(FACE[0])] = 0
    scores = np.zeros(whole.shape[:2])
    scores[:, :33] = 0.9
    if beside:
        np.savez(tmp_path / "in" / "clip.npz", keypoints=whole, visibility=scores)
    else:
        np.save(tmp_path / "in" / "clip.npy", np.concatenate([whole, scores[..., None]], axis=2))
    folder = imported("--source_fps 25 --width 640 --height 480")
    seen = np.isfinite(nmm(folder)).all(1)
    assert np.flatnonzero(~seen).tolist() == [*range(3, 9)]
    assert "note: the face has visibility 0 throughout" in report_of(folder)
