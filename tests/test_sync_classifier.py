"""The judge of synchrony: known lags, what it says of clips that are in time and out of time, how it is kept."""

import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import commands
import numpy as np
import pytest
import torch
from torch import nn

from evaluation import sync_classifier
from evaluation.clips import Clip
from evaluation.sync_classifier import SyncJudge, confidence_and_offset, kept_classifier, signals, train_classifier
from poses import layout
from poses.pack import write_pack
from poses.statistics import Statistics
from runtime.errors import UserError

LENGTH = 60


def clip_in_time(seed: int, lag: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pose [T,214] whose hands go up and down as its head nods, `lag` frames later, and what was seen of it."""
    rng = np.random.default_rng(seed)
    beat = np.convolve(rng.normal(size=LENGTH + 40), np.hanning(9), "same")
    frames = np.arange(LENGTH) + 15
    points = np.full((LENGTH, layout.NUM_KEYPOINTS, 2), 0.5)
    points[:, layout.LEFT_SHOULDER], points[:, layout.RIGHT_SHOULDER] = (0.6, 0.4), (0.4, 0.4)
    points[:, sync_classifier.WRISTS_AND_HANDS, 1] += 0.05 * beat[frames, None]
    pose = np.zeros((LENGTH, layout.POSE_DIM), np.float32)
    pose[:, layout.keypoint_dims(np.arange(layout.NUM_KEYPOINTS))] = points.reshape(LENGTH, -1)
    pose[:, layout.NMM] = 1 + 0.2 * beat[frames - lag, None] + 0.02 * rng.normal(size=(LENGTH, layout.NMM_DIM))
    return pose, np.ones(pose.shape, bool)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory):
    clips = ((f"clip{n}", "", *clip_in_time(n)) for n in range(40))
    items = ((name, text, {"pose": pose, "seen": seen.astype(np.uint8)}) for name, text, pose, seen in clips)
    return write_pack(tmp_path_factory.mktemp("sync_classifier") / "train", items)


@pytest.fixture(scope="module")
def judge(pack):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_classifier, "ROUNDS", 1)
        return SyncJudge(train_classifier(pack, np.full(layout.POSE_DIM, 0.2)), np.full(layout.POSE_DIM, 0.2))


def scores(judge: SyncJudge, lag: int) -> np.ndarray:
    """Mean confidence and offset of clips that it never saw."""
    return judge.score([Clip.real(*clip_in_time(1000 + n, lag)) for n in range(10)]).mean(0)


def test_clips_in_time_are_told_from_clips_out_of_time(judge):
    confidence, offset = scores(judge, 0)
    assert confidence > 0.9
    assert offset < 1
    confidence, offset = scores(judge, 7)
    assert confidence < 0.7
    assert 5.5 < offset < 8.5


def test_where_nothing_is_in_time_it_finds_chance(pack, monkeypatch):
    monkeypatch.setattr(sync_classifier, "ROUNDS", 1)
    std = np.full(layout.POSE_DIM, 0.2)
    confidence, _ = scores(SyncJudge(train_classifier(pack, std, control=True), std), 0)
    assert 0.35 < confidence < 0.65


def test_confidence_and_offset_of_known_logits():
    starts, others = np.arange(0, 60, 3), np.arange(60)
    lag = others[None] - starts[:, None]
    assert confidence_and_offset(starts, others, -np.abs(lag).astype(float)) == (1.0, 0.0)
    assert confidence_and_offset(starts, others, -np.abs(lag - 6.0))[1] == 6.0
    assert confidence_and_offset(starts, others, -np.abs(lag + 2.0))[1] == 2.0
    assert confidence_and_offset(starts, others, np.abs(lag).astype(float))[0] == 0.0
    assert confidence_and_offset(starts, others, np.full(lag.shape, 0.1)) == (0.5, 0.0)  # of equal lags the least


def test_a_lag_that_hardly_a_window_has_does_not_count():
    starts = np.arange(12)
    lag = starts[None] - starts[:, None]
    assert confidence_and_offset(starts, starts, np.where(lag == 9, 5.0, -np.abs(lag)))[1] == 0.0


@pytest.mark.parametrize("length", [25, 60, 700])
def test_every_lag_is_tried_however_long_the_clip(length: int):
    net = SimpleNamespace(hands=nn.Identity(), face=nn.Identity(), compare=lambda h, f: (h + f)[:, 0, 0])
    starts, others, logits = sync_classifier.logits_of(net, (torch.zeros(4, length), torch.zeros(4, length)))
    lags = others[None] - starts[:, None]
    reach = min(sync_classifier.MAX_LAG, length - sync_classifier.WINDOW)
    assert {*range(-reach, reach + 1)} <= {*lags.ravel().tolist()}
    assert logits.shape == lags.shape
    assert len(starts) <= sync_classifier.MAX_STARTS


def test_a_clip_that_cannot_tell_has_no_figure(judge):
    pose, seen = clip_in_time(0)
    no_face, no_shoulders = seen.copy(), seen.copy()
    no_face[:, layout.NMM] = False
    no_shoulders[:, layout.keypoint_dims(np.array([layout.LEFT_SHOULDER]))] = False
    still_face, still = pose.copy(), np.repeat(pose[:1], LENGTH, axis=0)
    still_face[:, layout.NMM] = 1.0
    short = Clip.real(pose[:20], seen[:20])
    cannot = [Clip.real(pose, no_face), Clip.real(pose, no_shoulders), short]
    cannot += [Clip.real(still_face, seen), Clip.real(still, seen)]
    found = judge.score([*cannot, Clip.real(pose, seen)])
    assert np.isnan(found[:5]).all()
    assert np.isfinite(found[5]).all()


def test_a_real_clip_and_the_same_clip_as_a_file_are_judged_alike(judge):
    pose, seen = clip_in_time(3)
    seen[20:40, layout.NMM] = False
    seen[5:25, layout.keypoint_dims(np.array([layout.RIGHT_SHOULDER]))] = False
    seen[30:, layout.LEFT_HAND] = False
    real = Clip.real(pose, seen)
    as_file = Clip.generated(real.in_file())
    ours, theirs = (signals(clip, judge.std) for clip in (real, as_file))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    np.testing.assert_array_equal(judge.score([real]), judge.score([as_file]))


def test_numbers_that_never_vary_in_train_are_left_out():
    pose, seen = clip_in_time(0)
    std = np.full(layout.POSE_DIM, 0.2)
    std[layout.NMM.start] = 0.0
    _, face = signals(Clip.real(pose, seen), std)
    assert face.isfinite().all()
    assert not face[0].any()


def test_the_noise_of_a_detector_is_smoothed_away():
    pose, seen = clip_in_time(0)
    trembling = pose.copy()
    trembling[:, layout.NMM] += 0.2 * (-1.0) ** np.arange(LENGTH)[:, None]
    std = np.full(layout.POSE_DIM, 0.2)
    (_, calm), (_, shaken) = (signals(Clip.real(p, seen), std) for p in (pose, trembling))
    assert (calm - shaken)[:, 3:-3].abs().max() < 1e-3


def test_the_classifier_is_trained_once_and_found_again(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(sync_classifier, "ROUNDS", 1)
    monkeypatch.setattr(sync_classifier, "STEPS", 5)
    mean = np.zeros(layout.POSE_DIM, np.float32)
    hands = np.zeros(layout.HANDS_DIM, np.float32)
    statistics = Statistics(mean, mean + 0.2, hands, hands + 1, {})
    first = kept_classifier(pack, statistics, tmp_path).state_dict()
    monkeypatch.setattr(sync_classifier, "train_classifier", None)
    again = kept_classifier(pack, statistics, tmp_path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())

    (index,) = tmp_path.glob("in-time-*/index.json")
    content = json.loads(index.read_text())
    del content["fields"]["out.1.weight"]
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="a damaged cache; delete this folder"):
        kept_classifier(pack, statistics, tmp_path)


def test_a_data_set_that_cannot_teach_it_says_so(tmp_path):
    pose, seen = clip_in_time(0)
    lengths = {"long": LENGTH, **{f"short{n}": 10 for n in range(5)}}
    items = ((name, "", {"pose": pose[:n], "seen": seen[:n].astype(np.uint8)}) for name, n in lengths.items())
    pack = write_pack(tmp_path / "train", items)
    with pytest.raises(UserError, match="hardly a clip of train"):
        train_classifier(pack, np.ones(layout.POSE_DIM))


def test_evaluate_reports_it_where_it_is_asked_for(data_dir: Path, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(sync_classifier, "ROUNDS", 1)
    monkeypatch.setattr(sync_classifier, "STEPS", 10)
    monkeypatch.setattr(sync_classifier, "WINDOW", 8)
    paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow}
    commands.call("evaluate_flow", f"--sync_confidence --cache_dir {tmp_path / 'cache'}", O=tmp_path / "asked", **paths)
    commands.call("evaluate_flow", O=tmp_path / "plain", **paths)
    asked, plain = (json.loads((tmp_path / name / "metrics_test.json").read_text()) for name in ("asked", "plain"))
    for name, row in plain.items():
        if isinstance(row, dict) and "dtw" in row:
            told = asked[name].get("sync_confidence") is not None
            assert told == (name in ("model", "reference", "reconstruction"))
            assert all(asked[name][key] == value for key, value in row.items() if key != "latency")
    row = asked["reference"]
    assert row["sync_confidence"] == row["sync_confidence_reference"]
    assert 0 <= row["sync_confidence"] <= 1
    assert math.isclose(row["sync_offset_difference"], 0.0, abs_tol=1e-12)
    assert "sync_classifier" in asked["checkpoints"]


def test_it_is_not_asked_about_the_clips_that_it_learnt_from(data_dir: Path, trained, tmp_path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow, "O": tmp_path / "scores"}
    said = commands.one_sentence(
        capsys, lambda: commands.call("evaluate_flow", "--split train --sync_confidence", **paths)
    )
    assert "--sync_confidence: its classifier knows the clips of train" in said


def test_the_benchmark_tells_of_each_part_of_the_face(data_dir: Path, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(commands.ROOT / "benchmarks"))
    for name, value in {"ROUNDS": 1, "STEPS": 5}.items():
        monkeypatch.setattr(sync_classifier, name, value)
    monkeypatch.setattr(sys, "argv", ["synchrony.py", "--data_dir", str(data_dir), "--seeds", "2"])
    synchrony = importlib.import_module("synchrony")
    synchrony.main()
    report = json.loads(capsys.readouterr().out)
    for name in ("face", "head", "mouth", "control"):
        low, high = report[name]["interval"]
        assert 0 <= low <= report[name]["auc"] <= high <= 1
    labels = np.array([1, 1, 0, 0])
    assert synchrony.auc(np.array([0.9, 0.4, 0.5, 0.1]), labels) == 0.75
    assert synchrony.auc(np.zeros(4), labels) == 0.5
