"""Generated clips are read from files as a data set's own are, or refused."""

import json
import re
import shutil

import numpy as np
import pytest
from made_up import write_clip
from pose_format import Pose

from evaluation.clips import Clip, Reference, read_references
from evaluation.opening import to_score
from evaluation.prediction_warnings import warnings_on
from evaluation.predictions import read_prediction, read_predictions
from evaluation.report import write_clips
from generation import require_plausible
from importers import spelling
from poses import layout
from poses.files import Reading, read_clip
from poses.holistic import read_pose_file
from poses.splits import load_split
from poses.writing import write_clip as write_pose
from runtime.errors import UserError


def test_predictions_are_read_from_npy_and_pose_files(tmp_path):
    letter = next(spelling.find_lexicon().rglob("*.pose"))
    shutil.copy(letter, tmp_path / "b.pose")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(0.3, 0.7, (3, layout.POSE_DIM)))
    nothing = np.zeros((1, layout.POSE_DIM))
    clips = read_predictions(tmp_path, [Reference(nothing, nothing > 0, name, "") for name in "ab"])
    assert [clip.pose.shape for clip in clips] == [clip.seen.shape for clip in clips]
    assert all(clip.pose.shape[1] == layout.POSE_DIM for clip in clips)
    assert clips[0].seen.all()
    assert 0 < clips[1].seen.mean() < 1  # a letter is signed with one hand
    assert np.isfinite(clips[1].pose).all()
    with pytest.raises(UserError, match=r"c\.npy: no such file, nor \.pose"):
        read_predictions(tmp_path, [Reference(nothing, nothing > 0, "c", "")])


def test_predictions_are_read_as_a_data_sets_clips_are(data_dir, tmp_path, capsys):
    """Frames at the ends that show nothing do not count; clips that no signer could be are told, and scored."""
    references = read_references(load_split(data_dir, "dev"))
    for reference in references:
        nothing = np.zeros((7, layout.POSE_DIM), np.float32)
        pose = np.concatenate([nothing, reference.in_file().astype(np.float32), nothing])
        np.save(tmp_path / f"{reference.id}.npy", pose)
    clips = read_predictions(tmp_path, references)
    assert [len(clip.pose) for clip in clips] == [len(reference.pose) for reference in references]
    assert "frames at the ends of 2 of 2 clips show nothing, and do not count" in capsys.readouterr().out
    assert warnings_on(clips, references) == []
    for reference in references:
        pose = reference.in_file().astype(np.float32)
        pose[:, 1 : layout.MANUAL.stop : 2] = 1 - pose[:, 1 : layout.MANUAL.stop : 2]
        np.save(tmp_path / f"{reference.id}.npy", pose)
    (said,) = warnings_on(read_predictions(tmp_path, references), references)
    assert "the nose lies below the shoulders, so y points upwards" in said


@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.9])
def test_a_pose_file_is_read_with_the_threshold_of_the_data_set(threshold, tmp_path):
    """So a data set's own .pose files, as predictions, are its references."""
    letter, reading = next(spelling.find_lexicon().rglob("*.pose")), Reading(visibility_threshold=threshold)
    recording = read_pose_file(letter)
    ends = np.cumsum([np.prod(shape) for shape in layout.NMM_FEATURES.values()])[:-1]
    parts = zip(layout.NMM_FEATURES.items(), np.split(recording.nmm, ends, axis=1), strict=True)
    features = {key: part.reshape(-1, *shape) for (key, shape), part in parts}
    arrays = {"keypoints": recording.keypoints, "visibility": recording.visibility, **features}
    write_clip(tmp_path, "dev", "a", len(recording.nmm), np.random.default_rng(0), **arrays)
    clip = read_clip(tmp_path, "dev", "a", reading=reading)
    real = Clip.real(clip.pose, clip.seen)
    shutil.copy(letter, tmp_path / "a.pose")
    (read,) = read_predictions(tmp_path, [Reference(real.pose, real.seen, "a", "")], reading=reading)
    np.testing.assert_array_equal(read.seen, real.seen)
    np.testing.assert_array_equal(read.pose, real.pose)
    assert (real.seen[:, layout.BODY].mean() < 0.6) == (threshold == 0.9)


@pytest.mark.parametrize("suffix", [".npy", ".pose"])
def test_a_hand_that_comes_last_is_there_whatever_the_padding(suffix, data_dir, tmp_path):
    (pose, *_) = (reference.in_file().astype(np.float32) for reference in read_references(load_split(data_dir, "dev")))
    pose[:-3, layout.LEFT_HAND] = 0
    pose[-3:, layout.LEFT_HAND] = pose[-3:, layout.RIGHT_HAND]
    write_pose(tmp_path / f"whole{suffix}", pose)
    write_pose(tmp_path / f"padded{suffix}", np.concatenate([pose, np.zeros((9, layout.POSE_DIM), np.float32)]))
    whole, padded = (read_prediction(tmp_path / f"{name}{suffix}") for name in ("whole", "padded"))
    assert whole.present[:, 0].sum() == 3
    np.testing.assert_array_equal(padded.seen, whole.seen)
    np.testing.assert_array_equal(padded.pose, whole.pose)


def test_points_at_minus_one_are_not_there():
    pose = np.random.default_rng(0).uniform(0.3, 0.7, (4, layout.POSE_DIM)).astype(np.float32)
    nose = layout.keypoint_dims(np.array([layout.NOSE]))
    pose[:, nose] = -1.0
    seen = Clip.generated(pose).seen
    assert not seen[:, nose].any()
    assert np.delete(seen, nose, axis=1).all()


def test_clips_of_another_rate_are_refused(tmp_path):
    pose = np.full((3, layout.POSE_DIM), 0.5, np.float32)
    np.save(tmp_path / "a.npy", pose)
    reference = Reference(pose, pose > 0, "a", "")
    assert len(read_predictions(tmp_path, [reference], 25.0)) == 1  # it does not say its own
    for fps, refused in ((25.0, False), (25.2, False), (50.0, True)):
        (tmp_path / "a.json").write_text(json.dumps({"fps": fps}))
        assert len(read_predictions(tmp_path, [reference])) == 1
        if refused:
            with pytest.raises(UserError, match=r"a\.npy: 50 frames per second, but its reference has 25"):
                read_predictions(tmp_path, [reference], 25.0)
        else:
            assert len(read_predictions(tmp_path, [reference], 25.0)) == 1


def test_clips_of_several_rates_are_refused_where_the_data_set_states_none(tmp_path):
    pose = np.full((3, layout.POSE_DIM), 0.5, np.float32)
    references = [Reference(pose, pose > 0, name, "") for name in "abc"]
    for name, fps in (("a", None), ("b", 25.0), ("c", 50.0)):
        np.save(tmp_path / f"{name}.npy", pose)
        (tmp_path / f"{name}.json").write_text(json.dumps({"fps": fps}))
    with pytest.raises(UserError, match=r"c\.npy: 50 frames per second, but b\.npy has 25; bring all"):
        read_predictions(tmp_path, references)
    (tmp_path / "c.json").write_text(json.dumps({"fps": 25.1}))
    assert len(read_predictions(tmp_path, references)) == 3


def test_one_clip_in_two_files_or_under_another_name_is_refused(tmp_path):
    pose = np.full((3, layout.POSE_DIM), 0.5, np.float32)
    reference = Reference(pose, pose > 0, "\u00fc", "")
    np.save(tmp_path / "U\u0308.npy", pose)
    with pytest.raises(UserError, match=r"no such file, nor \.pose; .*'U\\u0308\.npy' is another name or format"):
        read_predictions(tmp_path, [reference])
    np.save(tmp_path / "\u00fc.npy", pose)
    assert len(read_predictions(tmp_path, [reference])) == 1
    (tmp_path / "\u00fc.pose").write_bytes(b"")
    with pytest.raises(UserError, match=r"stands beside .*remove the one of an earlier run"):
        read_predictions(tmp_path, [reference])


@pytest.mark.parametrize(("of_data", "of_clip"), [("\u00fc", "u\u0308"), ("u\u0308", "\u00fc")])
def test_a_clip_may_be_called_by_its_id_in_another_unicode_form(of_data, of_clip, tmp_path):
    """As macOS names files, or as a file of texts to sign writes what the data set's files have in the other form."""
    pose = np.full((3, layout.POSE_DIM), 0.5, np.float32)
    np.save(tmp_path / f"{of_clip}.npy", pose)
    assert len(read_predictions(tmp_path, [Reference(pose, pose > 0, of_data, "")])) == 1
    (tmp_path / f"{of_clip}.pose").write_bytes(b"")
    with pytest.raises(UserError, match="stands beside"):
        read_predictions(tmp_path, [Reference(pose, pose > 0, of_data, "")])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "a.npy: holds NaN or infinity, or more than float32 can; write 0 for what is absent"),
        (np.inf, "a.npy: holds NaN or infinity"),
        (640.0, "a.npy: holds 640 in frame 2, number 5; predictions are in data units"),
        (1e20, "a.npy: holds 1e+20 in frame 2, number 5"),
    ],
)
def test_predictions_that_no_signer_could_be_are_refused(value, reason, tmp_path):
    pose = np.full((3, layout.POSE_DIM), 0.5, np.float32)
    reference = Reference(pose, pose > 0, "a", "")
    pose[2, 5] = value
    np.save(tmp_path / "a.npy", pose)
    with pytest.raises(UserError, match=re.escape(reason)):
        read_predictions(tmp_path, [reference])
    with pytest.raises(UserError, match="the clip has NaN, infinity or coordinates far outside the picture; its train"):
        require_plausible(pose, "the clip")


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_read_without_a_warning_of_numpy(tmp_path):
    pose = np.full((3, layout.POSE_DIM), 0.5)
    reference = Reference(pose, pose > 0, "a", "")
    pose[2, 5] = 1e300
    np.save(tmp_path / "a.npy", pose)
    with pytest.raises(UserError, match=r"a\.npy: holds NaN or infinity, or more than float32 can"):
        read_predictions(tmp_path, [reference])
    file = Pose.read(next(spelling.find_lexicon().rglob("*.pose")).read_bytes())
    file.body.data.data[1, 0, layout.SHOULDERS, 0] = [np.inf, -np.inf]
    (tmp_path / "a.npy").unlink()
    with open(tmp_path / "a.pose", "wb") as written:
        file.write(written)
    (clip,) = read_predictions(tmp_path, [reference])
    assert np.isfinite(clip.pose).all()  # there such a point is unseen


def test_clips_that_an_evaluation_left_out_are_left_out_where_its_predictions_are_scored(data_dir, tmp_path, capsys):
    """As it does where a text is too long. Clips of any other folder are all asked for."""
    references = read_references(load_split(data_dir, "dev"))
    write_clips(tmp_path, "dev", references[:1], {})
    for name, expected in (("predictions_dev", references[:1]), ("predictions_test", references), ("mine", references)):
        (tmp_path / name).mkdir()
        assert [clip.id for clip in to_score(references, tmp_path / name, "dev")] == [clip.id for clip in expected]
        left_out = f"{len(references) - 1} clips of dev are neither in {tmp_path / 'clips_dev.npz'} nor in "
        assert (left_out in capsys.readouterr().out) == (expected is not references)
    (tmp_path / "predictions_dev" / f"{references[1].id}.npy").touch()  # of a split that has grown since
    assert to_score(references, tmp_path / "predictions_dev", "dev") == references[:2]


def test_clips_of_none_of_the_references_are_told(data_dir, tmp_path, capsys):
    """As where a split has shrunk since, or a folder holds several samples of a text."""
    references = read_references(load_split(data_dir, "dev"))
    for name in (references[0].id + ".npy", references[0].id.upper() + ".pose", "notes.txt", "clip.json"):
        (tmp_path / name).touch()
    to_score(references, tmp_path, "dev")
    assert "are of no clip" not in capsys.readouterr().out
    for name in ("other.npy", f"{references[0].id}_1.npy"):
        (tmp_path / name).touch()
    to_score(references, tmp_path, "dev")
    assert f"{tmp_path}: 2 files, such as '" in (said := capsys.readouterr().out)
    assert "are of no clip of dev and do not count" in said
