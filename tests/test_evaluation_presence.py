"""Figures see which hands are there, and treat a clip alike whoever made it."""

import json
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from test_metrics import make_clip

from checkpoints import load_autoencoder
from evaluation import metrics, naturalness, recognition
from evaluation.back_translation import BackTranslator
from evaluation.baselines import baseline_clips
from evaluation.clips import Clip, clip_of, read_references
from evaluation.dtwp import dtwp
from evaluation.evaluator import Evaluator
from evaluation.predictions import read_predictions, write_predictions
from evaluation.summary import summarise
from models.pose_to_text import PoseToText, PoseToTextConfig
from models.text_encoder import train_tokenizer
from poses import layout
from poses.splits import load_split

HANDS = {"left": layout.LEFT_HAND, "right": layout.RIGHT_HAND}


@pytest.fixture(scope="module")
def hands_come_and_go(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The letters, some with a left hand, whose hands and face are lost for a while or for an instant."""
    folder = tmp_path_factory.mktemp("presence") / "data"
    shutil.copytree(data_dir, folder, ignore=shutil.ignore_patterns("cache"))
    for number, path in enumerate(sorted(folder.glob("*/poses/*.npz"))):
        with np.load(path) as archive:
            content = dict(archive)
        keypoints = content["keypoints"]
        left, right = (keypoints[:, place] for place in layout.HAND_KEYPOINTS.values())
        visibility = np.ones(keypoints.shape[:2], np.float32)
        seen_left = np.zeros(len(keypoints), bool)
        seen_left[[slice(3, 5), slice(None), slice(0, len(keypoints) // 2)][number % 3]] = True
        left[seen_left] = right[seen_left] * [-1, 1] + [1, 0]
        visibility[:, layout.LEFT_HAND_KEYPOINTS] = seen_left[:, None]
        if number % 2:
            visibility[4:11, layout.RIGHT_HAND_KEYPOINTS] = 0  # gone,
            visibility[14:16, layout.RIGHT_HAND_KEYPOINTS] = 0  # and lost by the detector
        visibility[2:9, layout.LEFT_ELBOW] = 0
        np.savez(path, **{**content, "keypoints": keypoints, "visibility": visibility})
    return folder


@pytest.fixture(scope="module")
def evaluator(hands_come_and_go, trained) -> Evaluator:
    autoencoder, statistics, _ = load_autoencoder(trained.autoencoder)
    references, train = (load_split(hands_come_and_go, split) for split in ("dev", "train"))
    torch.manual_seed(0)
    config = PoseToTextConfig(train_tokenizer(train.texts, 60), hidden_dim=32, num_heads=4, max_frames=20, max_tokens=8)
    translator = BackTranslator(PoseToText(config, statistics).eval(), statistics, num_beams=1)
    return Evaluator(read_references(references), train, autoencoder, statistics, translator)


def test_a_clip_and_its_file_show_the_same(hands_come_and_go, tmp_path):
    for split in ("train", "dev", "test"):
        pack = load_split(hands_come_and_go, split)
        references = read_references(pack)
        write_predictions(tmp_path / split, references, references)
        for index, read in enumerate(read_predictions(tmp_path / split, references)):
            for clip in (references[index], clip_of(pack, index)):
                np.testing.assert_array_equal(read.seen, clip.seen)
                np.testing.assert_array_equal(read.filled(), clip.filled())
    lost = [clip.present[:, :2].mean() for clip in references]
    assert 0 < min(lost) < 1


def test_the_references_as_predictions_have_the_row_of_the_reference(hands_come_and_go, trained, tmp_path):
    references = read_references(load_split(hands_come_and_go, "dev"))
    write_predictions(tmp_path / "clips", references, references)
    paths = {"D": hands_come_and_go, "F": tmp_path / "clips", "O": tmp_path / "out"}
    commands.call("evaluate_clips", f"--autoencoder_checkpoint {trained.autoencoder} --save_predictions", **paths)
    report = json.loads((tmp_path / "out" / "metrics_dev.json").read_text(encoding="utf-8"))
    assert report["model"] == report["reference"]
    assert report["model"]["presence_agreement"] == report["model"]["face_presence_agreement"] == 1
    for written in sorted((tmp_path / "clips").iterdir()):
        saved = tmp_path / "out" / "predictions_dev" / written.name
        np.testing.assert_array_equal(np.load(saved), np.load(written))


def test_a_clip_that_ends_in_a_part_of_a_hand_is_scored_without_that_end(hands_come_and_go, tmp_path):
    """A tool that loses the signer goes on to report a few points."""
    pack = load_split(hands_come_and_go, "dev")

    class Ending:
        """The pack with five more frames at each end, of which eight points of the right hand were seen."""

        ids, texts = pack.ids, pack.texts

        def field(self, name: str, index: int) -> np.ndarray:
            values = pack.field(name, index)
            end = np.repeat(values[-1:], 5, axis=0)
            if name == "seen":
                end[:] = 0
                end[:, layout.RIGHT_HAND][:, :16] = 1
            return np.concatenate([end, values, end])

    references = read_references(Ending())
    write_predictions(tmp_path, references, references)
    for read, reference in zip(read_predictions(tmp_path, references), references, strict=True):
        assert reference.seen[0].any()
        assert reference.seen[-1].any()
        np.testing.assert_array_equal(read.seen, reference.seen)
        np.testing.assert_array_equal(read.filled(), reference.filled())


@pytest.mark.parametrize("row", ["random_clip", "nearest_text", "mean_pose", "reconstruction"])
def test_clips_of_any_row_have_its_figures_when_they_come_as_files(row, evaluator, hands_come_and_go, tmp_path):
    train = load_split(hands_come_and_go, "train")
    rows = baseline_clips(train, evaluator.references, seed=0)
    rows["reconstruction"] = evaluator.reconstruct()
    write_predictions(tmp_path, evaluator.references, rows[row])
    as_files = evaluator.score(read_predictions(tmp_path, evaluator.references))
    expected = summarise(evaluator.score(rows[row]))
    assert summarise(as_files) == expected
    assert {"frechet", "diversity", "bleu1", "text_log_likelihood", "dtwp", "copied_frames"} <= expected.keys()


def test_a_reader_of_signing_weighs_texts_alone(evaluator):
    """A clip without a text, or a text without a clip, has no likelihood; a clip's own is the batch's."""
    clips, (first, second) = evaluator.references, evaluator.texts
    both = evaluator.translator.likelihoods(clips, [first, second])
    np.testing.assert_allclose(evaluator.translator.likelihoods(clips[1:], [second])[0], both[1], rtol=1e-5)
    none = evaluator.translator.likelihoods([clips[0], Clip.of_nothing(9)], ["...", second])
    assert np.isnan(none).all()


def without(pose: np.ndarray, *parts: slice, frames: slice = slice(None)) -> Clip:
    """A generated clip that lacks these parts."""
    pose = pose.copy()
    for part in parts:
        pose[frames, part] = 0
    return Clip.generated(pose)


def distances(prediction: Clip, reference: Clip) -> dict[str, float]:
    """Every figure of closeness that a hand has a part in."""
    scores = metrics.closeness_scores(prediction, reference, np.ones(layout.NMM_DIM)) | {
        "dtwp": dtwp(prediction, reference)
    }
    sign = recognition.sign_distances([prediction], [reference])[0, 0]
    names = ("dtw", "dtw_mje", "dtw_mje_left_hand", "mse", "mse_manual", "dtwp")
    return {**{name: scores[name] for name in names}, "sign": sign}


@pytest.mark.parametrize("frames", [slice(None), slice(0, 10), slice(6, 14)])
def test_a_hand_too_few_and_a_hand_too_many_cost_alike_and_none_in_both_counts_nothing(frames):
    pose = make_clip(0)
    both, one_handed = Clip.generated(pose), without(pose, layout.LEFT_HAND, frames=frames)
    dropped, phantom = distances(one_handed, both), distances(both, one_handed)
    assert all(value > 0 for value in dropped.values())
    assert dropped == pytest.approx(phantom)
    lacking = distances(one_handed, one_handed)
    assert all(value == 0 for value in lacking.values() if np.isfinite(value))
    assert np.isnan(lacking["dtw_mje_left_hand"]) == (frames == slice(None))


def test_a_hand_that_is_not_there_is_at_its_wrist():
    """So a hand all of whose keypoints lie at the same distance from the wrist costs that distance."""
    pose = make_clip(0)
    angles = np.linspace(0, 2 * np.pi, layout.NUM_HAND, endpoint=False)
    wrist = pose[:, layout.keypoint_dims(np.array([layout.LEFT_WRIST]))]
    ring = 0.1 * np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(-1)
    pose[:, layout.LEFT_HAND] = np.tile(wrist, layout.NUM_HAND) + ring
    both, one_handed = Clip.generated(pose), without(pose, layout.LEFT_HAND)
    for prediction, reference in ((both, one_handed), (one_handed, both)):
        errors, _ = metrics.dtw_mje(prediction, reference)
        assert errors["dtw_mje_left_hand"] == pytest.approx(0.1)
        assert (errors["dtw_mje_right_hand"], errors["dtw_mje_body"]) == pytest.approx((0, 0))
        assert errors["dtw_mje"] == pytest.approx(0.1 * layout.NUM_HAND / layout.NUM_KEYPOINTS)
        width = 0.3  # of the shoulders of `make_clip`
        sign = recognition.sign_distances([prediction], [reference])[0, 0]
        share = layout.NUM_HAND / len(layout.ARMS_AND_HANDS)
        assert sign == pytest.approx(0.1 / width * np.sqrt(share))


def test_a_lost_face_costs_and_a_face_that_the_reference_lost_asks_nothing():
    whole, lost = Clip.generated(make_clip(0)), without(make_clip(0), layout.NMM)
    assert metrics.mean_squared_errors(lost, whole, None)["mse_nmm"] == pytest.approx(
        (whole.pose[:, layout.NMM] ** 2).mean()
    )
    assert metrics.dtw(lost, whole)[0] > 0
    assert metrics.dtw(whole, lost)[0] == 0
    assert np.isnan(metrics.mean_squared_errors(whole, lost, None)["mse_nmm"])
    scale = np.ones(layout.NMM_DIM)
    assert metrics.closeness_scores(lost, whole, scale)["face_correlation"] == 0
    assert np.isnan(metrics.closeness_scores(whole, lost, scale)["face_correlation"])


def motion(prediction: Clip, reference: Clip) -> dict[str, float]:
    scores = metrics.motion_scores(prediction, reference)
    del scores["sways"]  # the shoulders stand still
    return {name: values[0] / values[1] for name, values in scores.items()}


def test_an_absent_hand_does_not_move_nor_by_coming_or_going():
    rng = np.random.default_rng(0)
    still = np.repeat(make_clip(0, 1), 24, axis=0)
    still[:, layout.RIGHT_HAND] += np.cumsum(rng.normal(scale=0.01, size=(24, 1)), axis=0)
    reference = without(still, layout.LEFT_HAND)
    unmoved = dict.fromkeys(("hand_speeds", "speeds", "jerks", "smooth_hand_speeds"), pytest.approx(1))
    assert motion(Clip.generated(still), reference) == unmoved  # a phantom that stands still
    assert motion(without(still, layout.LEFT_HAND, frames=slice(8, 16)), reference) == unmoved
    drifting = still.copy()
    drifting[:, layout.LEFT_HAND] += still[:, layout.RIGHT_HAND.start, None]
    assert motion(Clip.generated(drifting), reference) == dict.fromkeys(unmoved, pytest.approx(2))
    half = motion(without(still, layout.HANDS, frames=slice(12, 24)), without(still, layout.LEFT_HAND))
    assert all(0.2 < ratio < 0.8 for ratio in half.values())


def test_presence_agreement_is_the_share_of_hand_frames_alike_at_the_references_time():
    pose = make_clip(0, 20)
    reference = without(pose, layout.LEFT_HAND, frames=slice(0, 10))
    slow = without(np.repeat(pose, 2, axis=0), layout.LEFT_HAND, frames=slice(0, 20))
    late = without(without(pose, layout.LEFT_HAND).pose, layout.RIGHT_HAND, frames=slice(0, 5))
    expected = {
        "itself": (reference, 1, 1),
        "as slowly again": (slow, 1, 1),
        "both hands always": (Clip.generated(pose), 0.75, 1),
        "never the left, the right late": (late, 1 - (10 + 5) / 40, 1),
        "without a face for six of twenty frames": (without(reference.pose, layout.NMM, frames=slice(14, 20)), 1, 0.7),
    }
    for name, (clip, hands, face) in expected.items():
        scores = {key: values[0] / values[1] for key, values in metrics.presence_scores(clip, reference).items()}
        assert scores == {"hand_presence": hands, "both_hands_presence": 0.75, "face_presence": face}, name
    assert np.isnan(metrics.presence_scores(Clip.of_nothing(20), reference)["hand_presence"]).all()


def test_a_detectors_dropout_is_no_absence_and_its_mistake_no_hand():
    pose = make_clip(0, 30)
    assert without(pose, layout.LEFT_HAND, frames=slice(10, 14)).present.all()
    flash = pose.copy()
    flash[:10, layout.LEFT_HAND] = flash[13:, layout.LEFT_HAND] = 0
    assert not Clip.generated(flash).present[:, 0].any()


def test_a_phantoms_bones_and_place_count():
    pose = make_clip(0, 30)
    reference = without(pose, layout.LEFT_HAND)
    stretched = pose.copy()
    points = stretched[:, layout.LEFT_HAND]
    points *= np.where(np.arange(30) % 2, 1.5, 0.5)[:, None]
    variation = naturalness.bone_length_variation(Clip.generated(stretched), reference)
    assert variation > naturalness.bone_length_variation(reference, reference) + 0.1
    limits = np.array([1e9, 1e9])
    assert naturalness.implausible_hands(Clip.generated(pose), limits) == 0
    points += 1e10
    assert naturalness.implausible_hands(Clip.generated(stretched), limits) == 1
    assert naturalness.implausible_hands(reference, limits) == 0
