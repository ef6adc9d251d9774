"""Generated clips that can be scored, but whose figures would mislead, are told."""

import dataclasses
import functools
import json
import re

import commands
import numpy as np
import pytest
import recordings

import evaluate
from evaluation.clips import Clip, Reference, read_references
from evaluation.prediction_warnings import warnings_on
from evaluation.predictions import read_predictions
from evaluation.report import format_table
from poses import layout
from poses.splits import load_split


@pytest.fixture
def references(data_dir) -> list[Reference]:
    """The clips of dev."""
    return read_references(load_split(data_dir, "dev"))


def test_single_predictions_of_another_geometry_are_named(tmp_path):
    """As few as no data set is refused for: one clip upside down, mirrored, in another unit, with exchanged hands."""
    points, _ = recordings.signer()
    rng = np.random.default_rng(0)
    pose = layout.keypoints_to_frame(points, rng.uniform(-0.3, 0.3, (len(points), layout.NMM_DIM))).astype(np.float32)
    references = [Reference(pose, pose != 0, f"clip{number}", "") for number in range(8)]
    of_wrist, degrees = points.copy(), pose.copy()
    of_wrist[:, layout.LEFT_HAND_KEYPOINTS] -= points[:, layout.LEFT_WRIST, None]
    degrees[:, layout.HEAD_POSE] *= 180 / np.pi
    changes = {
        "have the nose below the shoulders": points * [1, -1] + [0, 1],
        "have the signer's left shoulder at the left": points * [-1, 1] + [1, 0],
        "have their nose or a shoulder outside the picture": 2 * points - 1,
        "have the hands at each other's wrists": points[:, np.r_[:33, 54:75, 33:54]],
        "have a hand far from its own wrist": of_wrist,
        "have a head that turns by more than a full turn": layout.frame_to_keypoints(degrees),
    }
    for reference in references:
        np.save(tmp_path / f"{reference.id}.npy", pose)
    assert warnings_on(read_predictions(tmp_path, references), references) == []
    for kind, changed in changes.items():
        nmm = (degrees if "turn" in kind else pose)[:, layout.NMM]
        wrong = layout.keypoints_to_frame(changed, nmm).astype(np.float32)
        np.save(tmp_path / "clip3.npy", wrong)
        (said,) = warnings_on(read_predictions(tmp_path, references), references)
        assert re.search(f"1 of 8 clips {kind}[^:]*: clip3", said), said
    references[3] = Reference(wrong, wrong != 0, "clip3", "")  # as data_preparation.py has said already
    assert warnings_on(read_predictions(tmp_path, references), references) == []


def test_predictions_of_another_picture_are_told(tmp_path):
    """Of another crop, or divided by the picture's longer side: no clip is odd by itself, but all distances are."""
    points, _ = recordings.signer()
    nmm = np.full((len(points), layout.NMM_DIM), 0.1)
    pose = layout.keypoints_to_frame(points, nmm).astype(np.float32)
    references = [Reference(pose, pose != 0, f"clip{number}", "") for number in range(4)]
    middle = points[:, layout.SHOULDERS].mean((0, 1))
    changes = {
        "has shoulders 0.50 times as wide as its reference's:": (points - middle) / 2 + middle,
        "0.56 times as wide as its reference's and has its nose 1.78 times as high": (
            (points - middle) * [9 / 16, 1] + middle
        ),
        "has its nose 0.56 times as high above the shoulders:": (points - middle) * [1, 9 / 16] + middle,
        "shoulder widths beside its reference:": points + np.array([0.0, 0.22]),
    }
    for said, changed in changes.items():
        for reference in references:
            np.save(tmp_path / f"{reference.id}.npy", layout.keypoints_to_frame(changed, nmm).astype(np.float32))
        (warning,) = warnings_on(read_predictions(tmp_path, references), references)
        assert said in warning


@pytest.mark.parametrize(("mirrored", "told"), [(0, False), (2, False), (5, True)])
def test_poses_of_a_mirrored_video_are_told_by_the_hand_that_they_show(mirrored, told, references):
    """All their points are where the layout has them: x from the other side, and left for right."""
    pose = references[0].in_file()
    pose[:, layout.LEFT_HAND] = 0
    points = layout.frame_to_keypoints(pose)
    sides = [n for pair in zip(range(12, 33, 2), range(11, 33, 2), strict=True) for n in pair]
    order = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *sides, *range(54, 75), *range(33, 54)]
    flipped = np.where(points == 0, 0, [1, 0] + points * [-1, 1])[:, order]
    other = layout.keypoints_to_frame(flipped, pose[:, layout.NMM])
    real = Clip.generated(pose)
    six = [Reference(real.pose, real.seen, str(n), "") for n in range(6)]
    said = warnings_on([Clip.generated(other)] * mirrored + [real] * (6 - mirrored), six)
    assert any(f"{mirrored} of 6 clips that show mostly one hand show the other one" in text for text in said) == told
    assert not any("exchanged or it is mirrored" in text for text in said)  # the layout is kept


def test_predictions_that_count_less_than_they_seem_are_told(references, tmp_path):
    """A body left out costs nothing in any distance, and another rate is not seen in a file that tells none."""
    for number, reference in enumerate(references):
        pose = reference.in_file().astype(np.float32)
        pose[number:, 0:22] = 0.0  # the head, which the second clip shows in a single frame
        np.save(tmp_path / f"{reference.id}.npy", np.repeat(pose, 2, axis=0))
    said = " ".join(warnings_on(read_predictions(tmp_path, references), references))
    assert f"2 of 2 clips, such as '{references[0].id}', never or rarely show points of the body that" in said
    assert "the median clip has 2.00 times its reference's frames" in said


@pytest.mark.parametrize(("lost", "told"), [(0.04, None), (0.3, "a point of the body is shown in 7"), (0.8, "2 of 2")])
def test_arms_that_are_lost_where_they_are_hard_are_told(lost, told, references, tmp_path):
    arm = layout.keypoint_dims(np.array([layout.LEFT_ELBOW, layout.LEFT_WRIST]))
    for reference in references:
        pose = reference.in_file().astype(np.float32)
        pose[1 : 1 + round(lost * len(pose)), arm] = 0
        np.save(tmp_path / f"{reference.id}.npy", pose)
    said = warnings_on(read_predictions(tmp_path, references), references)
    assert [text.startswith(str(told)) for text in said if "point" in text] == [True] * (told is not None)


@pytest.mark.parametrize(
    ("lost", "named"), [(layout.NMM, "facial_aus, head_pose, eye_gaze, mouth_shape"), (layout.EYE_GAZE, "eye_gaze")]
)
def test_predictions_without_a_face_are_told(lost, named, references, tmp_path):
    for reference in references:
        pose = reference.in_file().astype(np.float32)
        if reference is references[1]:
            pose[:, lost] = 0.0
        np.save(tmp_path / f"{reference.id}.npy", pose)
    (said,) = warnings_on(read_predictions(tmp_path, references), references)
    assert said.startswith(f"1 of 2 clips, such as '{references[1].id}', never or rarely show features of the face")
    assert f"({named})" in said
    without = [Reference(pose, pose != 0, reference.id, "") for reference in references]
    assert warnings_on(read_predictions(tmp_path, without), without) == []


@pytest.mark.parametrize(("every", "kept"), [(2, 1), (3, 1), (3, 2)])
def test_predictions_that_flicker_are_told(every, kept, references, tmp_path):
    """The frames that show nothing are filled along a line, so a clip that trembles seems calm."""
    rng = np.random.default_rng(0)
    for flickers in (False, True):
        for reference in references:
            pose = reference.in_file().astype(np.float32)
            pose[:, layout.MANUAL] += (0.01 * rng.normal(size=(len(pose), 150))) * (pose[:, layout.MANUAL] != 0)
            if flickers:
                pose[1:-1][np.arange(len(pose) - 2) % every >= kept] = 0
            np.save(tmp_path / f"{reference.id}.npy", pose)
        said = warnings_on(read_predictions(tmp_path, references), references)
        assert ["do the clips flicker" in warning for warning in said] == [True] * flickers
    clips = read_predictions(tmp_path, references)
    filled = [dataclasses.replace(r, pose=clip.pose) for r, clip in zip(references, clips, strict=True)]
    assert warnings_on(clips, filled) == []  # where the data set's own clips are filled as much


def test_padding_of_predictions_is_told(references, tmp_path):
    poses = {reference.id: reference.in_file().astype(np.float32) for reference in references}
    for number, (clip_id, pose) in enumerate(poses.items()):
        np.save(tmp_path / f"{clip_id}.npy", np.concatenate([pose, np.repeat(pose[-1:], 9 * number, axis=0)]))
    (said,) = warnings_on(read_predictions(tmp_path, references), references)
    assert said.startswith(f"1 of 2 clips, such as '{references[1].id}', end with frames that repeat the one before")
    assert "(9 in all)" in said
    for clip_id, pose in poses.items():
        every_fourth = np.concatenate([np.repeat(pose[:-1:4], 4, axis=0), pose[-1:]])
        np.save(tmp_path / f"{clip_id}.npy", every_fourth[: len(pose)])
    (said,) = warnings_on(read_predictions(tmp_path, references), references)
    assert re.match(r"2 of 2 clips, such as '.*', hold frames that equal the one before", said)


@pytest.mark.parametrize(("factor", "more", "told"), [(30 / 25, 0, "1.20"), (24 / 25, 0, "0.96"), (1, 2, None)])
def test_clips_of_another_rate_are_told_by_the_factor_that_all_share(factor, more, told):
    def clip(frames: int) -> Reference:
        return Reference(np.full((frames, 214), 0.5), np.ones((frames, 214), bool), "clip", "")

    lengths = range(40, 161, 20)
    references, clips = [*map(clip, lengths)], [clip(round(factor * frames) + more) for frames in lengths]
    said = " ".join(warnings_on(clips, references))
    assert (f"every clip has {told} times its reference's frames: another rate?" in said) == bool(told)
    clips[3] = clip(lengths[3] + 9)  # a length of its own
    assert "reference's frames" not in " ".join(warnings_on(clips, references))


def test_a_models_own_clips_get_the_warnings_of_files(data_dir, trained, tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(evaluate, "warnings_on", lambda *both: seen.append(both) or ["a warning"])
    commands.call("evaluate_predictor", "--num_workers 0", D=data_dir, O=tmp_path, **trained.paths)
    assert "warning: the generated clips: a warning" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics_dev.json").read_text(encoding="utf-8"))["warnings"] == ["a warning"]
    assert len(seen) == 1


def test_warnings_stay_with_the_figures(data_dir, references, tmp_path, capsys):
    """Whoever reads the report, or compares it with another, sees them too."""
    (tmp_path / "clips").mkdir()
    for reference in references:
        pose = reference.in_file().astype(np.float32)
        pose[:, 0:22] = 0.0  # the head
        np.save(tmp_path / "clips" / f"{reference.id}.npy", pose)
    commands.call("evaluate_clips", D=data_dir, F=tmp_path / "clips", O=tmp_path / "out")
    assert f"warning: {tmp_path / 'clips'}: 2 of 2 clips, such as " in capsys.readouterr().out
    path = tmp_path / "out" / "metrics_dev.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    (warning,) = report["warnings"]
    assert "never or rarely show points of the body that their references show" in warning
    assert f"warning: model: {warning}" in format_table(report)
    commands.call_script("compare_metrics.py", tmp_path / "out", tmp_path / "out", "--row_b", "mean_pose")
    said = capsys.readouterr().out
    assert f"A: warning: {warning}\n" in said
    assert "B: warning" not in said
    for wrong in ("none", [1]):
        path.write_text(json.dumps(report | {"warnings": wrong}), encoding="utf-8")
        refused = functools.partial(commands.call_script, "compare_metrics.py", tmp_path / "out", tmp_path / "out")
        assert "not a report of evaluate.py" in commands.one_sentence(capsys, refused)
