"""evaluate.py, train_pose_to_text.py and compare_metrics.py as their users run them, on small models."""

import dataclasses
import functools
import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import commands
import numpy as np
import pytest
import recordings
import torch
from made_up import write_clip
from pose_format import Pose

import compare_metrics
import evaluate
import train_pose_to_text
import visualize
from checkpoints import load_autoencoder
from evaluation import predictions, summary
from evaluation.baselines import NearestTexts, baseline_clips, nearest_text_clips, shuffled_texts
from evaluation.clips import Clip, Reference, read_references, references_fingerprint
from evaluation.evaluator import Evaluator
from evaluation.opening import to_score
from evaluation.predictions import read_prediction, read_predictions, warnings_on
from evaluation.report import ROWS, format_table, write_clips
from generation import require_plausible
from importers import spelling
from poses import layout
from poses.files import Reading, read_clip
from poses.holistic import read_pose_file
from poses.splits import load_split
from poses.statistics import Statistics, statistics_path
from poses.writing import write_clip as write_pose
from runtime import errors
from runtime.errors import UserError
from runtime.files import require_writable

TRANSLATOR = "--num_epochs 2 --batch_size 8 --num_workers 0 --warmup_steps 2 --max_seq_len 40 --hidden_dim 32 "
TRANSLATOR += "--num_heads 4 --encoder_layers 1 --decoder_layers 1 --max_tokens 16"


def call(main, *words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script", *map(str, words)])
        errors.run(main)


@pytest.fixture(scope="module")
def translator(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose_to_text")
    call(train_pose_to_text.main, "--data_dir", data_dir, "--output_dir", folder, *TRANSLATOR.split())
    return folder / "best_model.pt"


@pytest.fixture(scope="module")
def evaluated(data_dir, trained, translator, tmp_path_factory):
    """The predictor's evaluation with every flag."""
    folder = tmp_path_factory.mktemp("evaluation")
    more = f"--back_translation_checkpoint {translator} --num_beams 2 --shuffle_texts --num_workers 0"
    commands.call("evaluate_predictor", more, D=data_dir, O=folder, **trained.paths)
    return folder


def test_the_best_epoch_is_that_of_the_highest_dev_score(translator):
    lines = [json.loads(line) for line in (translator.parent / "log.jsonl").read_text().splitlines()]
    scores = [line["dev"]["score"] for line in lines if "dev" in line]
    assert len(scores) == 2
    assert lines[-1]["epoch"] == 1 + scores.index(max(scores))


def test_every_row_has_every_figure_with_its_interval(evaluated, translator):
    report = json.loads((evaluated / "metrics_dev.json").read_text(encoding="utf-8"))
    assert report["checkpoints"].keys() == {"autoencoder", "predictor", "back_translation"}
    assert report["settings"]["num_beams"] == 2
    assert report["settings"]["text_unit"] == "words"
    assert "text_unit=words, text_normalization=NFKC; lower case; only letters" in format_table(report)
    for row in ROWS:
        for key in (
            "bleu1",
            "bleu4",
            "rouge_l",
            "chrf",
            "wer",
            "frechet",
            "diversity",
            "speed_ratio",
            "jerk_ratio",
            "copied_frames",
            "recognition",
            "dtw",
            "dtw_mje_left_hand",
            "bone_length_variation",
        ):
            low, value, high = (report[row][f"{key}{end}"] for end in ("_low", "", "_high"))
            assert value is None or low <= value + 1e-9
            assert value is None or value <= high + 1e-9, (row, key)
    assert report["reference"]["frechet"] == pytest.approx(0, abs=1e-6)
    assert report["reference"]["speed_ratio"] == report["reference"]["jerk_ratio"] == 1
    assert report["mean_pose"]["frechet"] > report["reference"]["frechet"]
    assert report["random_clip"]["copied_frames"] == 1


def test_two_rows_compare_and_other_clips_do_not(evaluated, data_dir, tmp_path, capsys):
    call(compare_metrics.main, evaluated, evaluated, "--row_b", "reference", "--output_path", tmp_path / "table.json")
    said = capsys.readouterr().out
    assert "A - B" in said
    assert "left out, since latents are kept of the rows 'model' alone: frechet" in said
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["dtw"]["difference"] == pytest.approx(table["dtw"]["a"])
    assert "frechet" not in table  # the reference keeps no latents
    with np.load(evaluated / "clips_dev.npz") as archive:
        np.savez(tmp_path / "clips_dev.npz", **{**archive, "ids": archive["ids"][::-1]})
    call(compare_metrics.main, evaluated / "clips_dev.npz", evaluated, "--row_b", "nearest_text")
    for words, reason in (((tmp_path,), "other clips"), ((evaluated, "--split", "test"), "no such file")):
        with pytest.raises(SystemExit) as exit_info:
            call(compare_metrics.main, evaluated, *words)
        assert exit_info.value.code == 2
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("metrics_dev.json", "is no table of this script, and one would overwrite it; choose another --output_path"),
        ("metrics_test.json", "is no table of this script"),
        ("notes.json", "is no table of this script"),
        ("clips_dev.npz", "must end in .json"),
        ("metrics_dev.pkl", "must end in .json"),
    ],
)
def test_a_table_of_differences_replaces_nothing_but_such_a_table(name, reason, evaluated, tmp_path, capsys):
    shutil.copytree(evaluated, tmp_path / "other")
    (tmp_path / "other" / "metrics_test.json").write_bytes((evaluated / "metrics_dev.json").read_bytes())
    (tmp_path / "other" / "notes.json").write_text("my notes")
    path, table = tmp_path / "other" / name, tmp_path / "table.json"
    before = path.read_bytes()
    refused = functools.partial(call, compare_metrics.main, evaluated, evaluated, "--output_path", path)
    assert reason in commands.one_sentence(capsys, refused)
    assert path.read_bytes() == before
    for row in ("reference", "nearest_text"):
        call(compare_metrics.main, evaluated, evaluated, "--row_b", row, "--output_path", table)


@pytest.mark.parametrize(
    ("difference", "low", "high", "apart"),
    [
        (1e-9, 1e-9, 1e-9, False),  # what float32 rounds: the same clips as .npy and .pose
        (-1e-9, -2e-9, -1e-10, False),
        (1e-5, 1e-6, 2e-5, True),
        (1e-5, -1e-6, 2e-5, False),
        (0.01, None, None, False),
    ],
)
def test_rounding_is_no_difference(difference: float, low: float | None, high: float | None, apart: bool):
    line = {"a": 0.0638, "b": 0.0638 - difference, "difference": difference, "low": low, "high": high}
    assert summary.differs(line) == apart


@pytest.mark.parametrize(
    ("metric", "a", "b", "said"),
    [
        ("dtw", 0.9, 1.1, "A better"),
        ("recognition", 0.9, 1.1, "B better"),
        ("motion_ratio", 0.9, 0.4, "A better"),  # near 1
        ("motion_ratio", 1.6, 1.2, "B better"),
        ("motion_ratio", 0.9, 1.2, "differs"),  # on two sides of 1
        ("sync_correlation", 3.0, 1.5, "B better"),  # near the reference's, here 1
        ("sync_correlation_reference", 3.0, 1.5, "differs"),
    ],
)
def test_a_comparison_says_which_side_is_better(metric: str, a: float, b: float, said: str):
    line = {"a": a, "b": b, "difference": a - b, "low": a - b - 0.01, "high": a - b + 0.01}
    assert summary.verdict(metric, line, {"sync_correlation_reference": {"a": 1.0, "b": 1.0}}) == said
    assert summary.verdict(metric, {**line, "low": -9.0, "high": 9.0}, {}) == ""


def test_a_comparison_says_which_side_is_marked(evaluated, capsys):
    call(compare_metrics.main, evaluated, evaluated, "--row_a", "reference", "--row_b", "mean_pose")
    said = capsys.readouterr().out
    assert "B is marked *: motion ratio outside 0.8-1.2" in said
    assert "A is marked" not in said


def test_an_evaluation_of_another_split_is_pointed_to(evaluated, capsys):
    said = commands.one_sentence(capsys, lambda: call(compare_metrics.main, evaluated, evaluated, "--split", "test"))
    assert "clips_test.npz: no such file; its folder has --split dev" in said


def test_evaluations_on_two_preparations_of_the_data_do_not_compare(evaluated, tmp_path, capsys):
    shutil.copytree(evaluated, tmp_path / "other")
    with np.load(evaluated / "clips_dev.npz") as archive:
        other = {**archive, "reference/frames": archive["reference/frames"] // 2}
    np.savez(tmp_path / "other" / "clips_dev.npz", **other)
    with pytest.raises(SystemExit) as stop:
        call(compare_metrics.main, evaluated, tmp_path / "other")
    assert stop.value.code == 2
    assert "prepared or imported anew" in capsys.readouterr().err


def test_evaluations_on_other_poses_or_texts_of_the_same_ids_do_not_compare(evaluated, tmp_path, capsys):
    shutil.copytree(evaluated, tmp_path / "other")
    path = tmp_path / "other" / "metrics_dev.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(report | {"references": "0" * 12}), encoding="utf-8")
    said = commands.one_sentence(capsys, lambda: call(compare_metrics.main, evaluated, tmp_path / "other"))
    assert "its references (poses, what is seen of them, or texts) are others" in said
    del report["references"]  # of an earlier version, which wrote none
    path.write_text(json.dumps(report), encoding="utf-8")
    call(compare_metrics.main, evaluated, tmp_path / "other")


def test_the_fingerprint_of_references_sees_their_poses_what_is_seen_and_their_texts(evaluated, data_dir):
    references = read_references(load_split(data_dir, "dev"))
    first = references_fingerprint(references)
    assert first == json.loads((evaluated / "metrics_dev.json").read_text(encoding="utf-8"))["references"]
    reference, *others = references
    moved, unseen = reference.pose + np.float32(1e-3), reference.seen.copy()
    unseen[3, layout.BODY] = False
    changes = ({"pose": moved}, {"seen": unseen}, {"text": "another"}, {"id": "another"})
    changed = [dataclasses.replace(reference, **change) for change in changes]
    assert len({first, *(references_fingerprint([one, *others]) for one in changed)}) == 1 + len(changed)


def test_figures_of_two_judges_do_not_compare(evaluated, tmp_path, capsys):
    shutil.copytree(evaluated, tmp_path / "other")
    path = tmp_path / "other" / "metrics_dev.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["checkpoints"] |= {"back_translation": "another"}
    report["thresholds"]["near"] = 2.0
    path.write_text(json.dumps(report), encoding="utf-8")
    call(compare_metrics.main, evaluated, tmp_path / "other", "--output_path", tmp_path / "table.json")
    said = capsys.readouterr().out
    assert "left out, since A and B do not have the same back translation: bleu1, bleu2," in said
    assert "left out, since A and B do not have the same thresholds: implausible_hands, copied_frames" in said
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["dtw"]["difference"] == table["frechet"]["difference"] == 0
    assert not table.keys() & {"bleu4", "wer", "text_log_likelihood", "copied_frames"}


@pytest.mark.parametrize(
    "damaged",
    [
        {"thresholds": {"copy_distance": "a"}},
        {"thresholds": [1]},
        {"checkpoints": {"autoencoder": {"a": "b"}}},
        {"length_source": ["given"]},
    ],
)
def test_judges_that_are_none_are_one_sentence(damaged, evaluated, tmp_path, capsys):
    shutil.copytree(evaluated, tmp_path / "other")
    path = tmp_path / "other" / "metrics_dev.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | damaged), encoding="utf-8")
    refused = functools.partial(call, compare_metrics.main, tmp_path / "other", tmp_path / "other")
    assert "metrics_dev.json: not a report of evaluate.py" in commands.one_sentence(capsys, refused)


def test_every_wrong_text_is_wrong_and_one_text_alone_has_none():
    texts = ["a", "b", "b", "c", "a", "d"]
    for seed in range(20):
        wrong = shuffled_texts(texts, seed)
        assert all(one != other for one, other in zip(wrong, texts, strict=True))
        assert len({*zip(texts, wrong, strict=True)}) == 4  # one wrong text for each text
    with pytest.raises(UserError, match="one text"):
        shuffled_texts(["a", "a"], 0)


@pytest.fixture
def untold(data_dir, tmp_path):
    """The data set without the texts of dev, and as predictions its clips (F), which every text would fit."""
    folder, predictions = tmp_path / "data", tmp_path / "clips"
    shutil.copytree(data_dir, folder)
    (folder / "dev.txt").unlink()
    predictions.mkdir()
    for path in (folder / "dev" / "poses").glob("*.npz"):
        noise = np.random.default_rng(0).normal(size=(20, layout.POSE_DIM)).astype(np.float32)
        np.save(predictions / f"{path.stem}.npy", noise)
    return {"D": folder, "F": predictions, "O": tmp_path / "out"}


def test_no_text_is_no_truth(untold, translator, capsys):
    """White noise on a split without texts is not recognised, and has no BLEU and no nearest text."""
    commands.call("evaluate_clips", f"--back_translation_checkpoint {translator}", **untold)
    assert "so there is no row 'nearest_text'" in capsys.readouterr().out
    report = json.loads((untold["O"] / "metrics_dev.json").read_text(encoding="utf-8"))
    assert "nearest_text" not in report
    for name in ("model", "reference", "random_clip"):
        for key in ("recognition", "recognition_top5", "diversity", "bleu1", "bleu4", "rouge_l", "chrf", "wer"):
            assert report[name][key] is report[name][f"{key}_low"] is None, key
        assert {key: report[name][f"{key}_clips"] for key in ("recognition", "text", "diversity", "compared")} == {
            "recognition": 0,
            "text": 0,
            "diversity": 0,
            "compared": report["num_clips"],
        }
    call(compare_metrics.main, untold["O"], untold["O"], "--row_b", "reference")
    assert "A: recognition uses 0 clips" in capsys.readouterr().out


def test_the_seed_of_the_comparison_rows_is_named(untold):
    """They are drawn by it, whoever made the clips."""
    commands.call("evaluate_clips", "--seed 3", **untold)
    report = json.loads((untold["O"] / "metrics_dev.json").read_text(encoding="utf-8"))
    assert report["settings"]["seed"] == 3


def test_half_of_the_texts_are_the_truth_of_half_of_the_clips(untold, data_dir, trained):
    lines = (data_dir / "dev.txt").read_text(encoding="utf-8").splitlines()
    first, others = lines[0], [f"{line.split('|')[0]}|\n" for line in lines[1:]]
    (untold["D"] / "dev.txt").write_text("".join([f"{first}\n", *others]), encoding="utf-8")
    commands.call("evaluate_clips", f"--autoencoder_checkpoint {trained.autoencoder}", **untold)
    report = json.loads((untold["O"] / "metrics_dev.json").read_text(encoding="utf-8"))
    assert report["nearest_text"]["compared_clips"] == 1
    assert report["nearest_text"]["frechet"] > 0  # of that clip's latents alone
    assert report["random_clip"]["compared_clips"] == report["num_clips"] == len(lines)


def test_a_train_clip_without_a_text_is_nobodys_nearest(data_dir):
    train = load_split(data_dir, "train")
    pose = np.zeros((4, layout.POSE_DIM))
    references = [Reference(pose, pose == 0, "a", text) for text in ("", train.texts[3], "zzz")]
    train.texts = ["" if n != 3 else text for n, text in enumerate(train.texts)]
    nothing, *nearest = nearest_text_clips(train, references, seed=0)
    assert not nothing.seen.any()
    for clip in nearest:
        np.testing.assert_array_equal(clip.pose, train.field("pose", 3))
    train.texts = [""] * len(train)
    assert baseline_clips(train, references, 0).keys() == {"mean_pose", "random_clip"}


def test_the_takes_of_a_text_are_all_used_before_one_is_used_again(data_dir):
    train = load_split(data_dir, "train")
    train.texts = ["hello"] * len(train)
    pose = np.zeros((4, layout.POSE_DIM))
    asked = [Reference(pose, pose == 0, str(n), "hello") for n in range(2 * len(train))]
    drawn = [clip.pose.tobytes() for clip in nearest_text_clips(train, asked, seed=0)]
    assert set(Counter(drawn).values()) == {2}
    assert len({*drawn[: len(train)]}) == len(train)


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


def test_a_train_clip_is_compared_with_others_than_itself(data_dir):
    train = load_split(data_dir, "train")
    references = read_references(train)
    for texts in (["hello"] * len(train), [f"word {n}" for n in range(len(train))]):
        train.texts = texts
        own = [dataclasses.replace(reference, text=text) for reference, text in zip(references, texts, strict=True)]
        rows = baseline_clips(train, own, 0, of_train=True)
        for name in ("random_clip", "nearest_text"):
            assert all(not np.array_equal(clip.pose, one.pose) for clip, one in zip(rows[name], own, strict=True))
    evaluator = Evaluator(own, train, None, Statistics.load(statistics_path(data_dir, None)), of_train=True)
    assert evaluator.score(own)["recognition"].all()  # any other row's clips
    assert not evaluator.score(own, of_train=True)["recognition"].any()
    some = [reference for number, reference in enumerate(own) if number % 2]  # as when long texts are left out
    for clip, reference in zip(nearest_text_clips(train, some, 0, of_train=True), some, strict=True):
        assert not np.array_equal(clip.pose, reference.pose)
    train.texts = ["hello", *[""] * (len(train) - 1)]
    (nothing,) = nearest_text_clips(train, [dataclasses.replace(own[0], text="hello")], 0, of_train=True)
    assert not nothing.seen.any()


def test_copies_are_not_counted_in_train_itself(data_dir, trained, tmp_path):
    options = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow, "O": tmp_path}
    commands.call("evaluate_flow", "--split train --num_steps 2 --num_workers 0", **options)
    report = json.loads((tmp_path / "metrics_train.json").read_text(encoding="utf-8"))
    assert "copied_frames" not in report["model"]
    assert "copy_distance" not in report["thresholds"]
    assert report["nearest_text"]["dtw"] > 0


def test_the_nearest_text_has_most_trigrams_in_common():
    rng = np.random.default_rng(0)
    texts = sorted({"".join(rng.choice([*"aab "], 12)).strip() for _ in range(60)})

    def dice(one: str, other: str) -> float:
        a, b = (Counter(f"  {text} "[i : i + 3] for i in range(len(text) + 1)) for text in (one, other))
        return 2 * (a & b).total() / (a.total() + b.total())

    nearest_of = NearestTexts(texts[::2])
    for text in texts:
        assert nearest_of(text) == max(texts[::2], key=lambda other: dice(text, other))


def test_clips_whose_text_is_too_long_for_the_model_are_left_out(untold, data_dir, trained, capsys):
    first, *others = (data_dir / "dev.txt").read_text(encoding="utf-8").splitlines()
    long = f"{first.split('|')[0]}|{'a b ' * 200}"
    (untold["D"] / "dev.txt").write_text("\n".join([long, *others]), encoding="utf-8")
    paths = untold | {"A": trained.autoencoder, "F": trained.flow}
    commands.call("evaluate_flow", "--split dev --num_workers 0", **paths)
    assert "have a text of more than 256 tokens" in capsys.readouterr().out
    report = json.loads((untold["O"] / "metrics_dev.json").read_text(encoding="utf-8"))
    assert (report["num_clips"], report["settings"]["clips_left_out"]) == (len(others), 1)


def test_texts_that_differ_in_punctuation_alone_are_one_for_every_row(data_dir):
    train, references = load_split(data_dir, "train"), read_references(load_split(data_dir, "dev"))
    texts, written = [*train.texts], [f"{text.title()}!" for text in train.texts]
    asked = [dataclasses.replace(reference, text=train.texts[3]) for reference in references]
    nearest = nearest_text_clips(train, asked, seed=0)
    train.texts = [texts[n] if n % 2 else written[n] for n in range(len(texts))]
    for clip, other in zip(nearest, nearest_text_clips(train, asked, seed=0), strict=True):
        np.testing.assert_array_equal(clip.pose, other.pose)
    wrong = shuffled_texts(["a", "A.", "b", "a", "c"], 0)
    assert all({one, other} != {"a", "A."} for one, other in zip(wrong, ["a", "A.", "b", "a", "c"], strict=True))
    assert wrong[0] == wrong[1] == wrong[3]
    with pytest.raises(UserError, match="one text"):
        shuffled_texts(["a", "A.", "a!"], 0)
    named = [dataclasses.replace(one, text=text) for one, text in zip(references, ("hello", "Hello."), strict=True)]
    statistics = Statistics.load(statistics_path(data_dir, None))
    assert len({*Evaluator(named, train, None, statistics).text_numbers}) == 1


def test_where_there_is_no_text_none_is_wrong():
    assert shuffled_texts(["a", "", "b", "..."], 0) == ["b", "", "a", "..."]
    with pytest.raises(UserError, match="one text or none"):
        shuffled_texts(["a", "", "..."], 0)


def test_the_back_translator_is_not_trained_without_texts_of_dev(untold, capsys):
    with pytest.raises(SystemExit) as stop:
        call(train_pose_to_text.main, "--data_dir", untold["D"], "--output_dir", untold["O"], *TRANSLATOR.split())
    assert stop.value.code == 2
    assert "dev.txt: every text is empty" in capsys.readouterr().err


def test_the_back_translators_losses_are_of_the_clips_that_have_a_text(data_dir: Path, tmp_path: Path, capsys):
    """In batches of one, a clip without a text, or with symbols alone, would count as a loss of 0."""
    data = tmp_path / "data"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("cache"))
    lines = (data / "dev.txt").read_text(encoding="utf-8").splitlines()
    (data / "dev.txt").write_text("\n".join([lines[0], *(line.split("|")[0] + "|😀" for line in lines[1:])]))
    for size in (1, 8):
        flags = [*TRANSLATOR.split(), "--num_epochs", "1", "--batch_size", size, "--output_dir", tmp_path / str(size)]
        call(train_pose_to_text.main, "--data_dir", data, *flags)
    losses = [json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0]) for name in ("1", "8")]
    one, all_at_once = (record["dev"]["loss"] for record in losses)
    assert one == pytest.approx(all_at_once, rel=0.2)
    ids = [line.split("|")[0] for line in (data / "test.txt").read_text(encoding="utf-8").splitlines()]
    (data / "test.txt").write_text("".join(f"{clip_id}|\n" for clip_id in ids))
    said = commands.one_sentence(
        capsys, lambda: call(train_pose_to_text.main, "--data_dir", data, "--output_dir", tmp_path / "no", *flags[:-4])
    )
    assert "test.txt: every text is empty; the texts of test are read once, after training" in said


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


def test_a_models_own_clips_get_the_warnings_of_files(data_dir, trained, tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(evaluate, "warnings_on", lambda *both: seen.append(both) or ["a warning"])
    commands.call("evaluate_predictor", D=data_dir, O=tmp_path, **trained.paths)
    assert "warning: the generated clips: a warning" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics_dev.json").read_text(encoding="utf-8"))["warnings"] == ["a warning"]
    assert len(seen) == 1


def test_predictions_that_count_less_than_they_seem_are_told(data_dir, tmp_path):
    """A body left out costs nothing in any distance, and another rate is not seen in a file that tells none."""
    references = read_references(load_split(data_dir, "dev"))
    for number, reference in enumerate(references):
        pose = reference.in_file().astype(np.float32)
        pose[number:, 0:22] = 0.0  # the head, which the second clip shows in a single frame
        np.save(tmp_path / f"{reference.id}.npy", np.repeat(pose, 2, axis=0))
    said = " ".join(warnings_on(read_predictions(tmp_path, references), references))
    assert f"2 of 2 clips, such as '{references[0].id}', never or rarely show points of the body that" in said
    assert "the median clip has 2.00 times its reference's frames" in said


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


def test_padding_of_predictions_is_told(data_dir, tmp_path):
    references = read_references(load_split(data_dir, "dev"))
    poses = {reference.id: reference.in_file().astype(np.float32) for reference in references}
    for number, (clip_id, pose) in enumerate(poses.items()):
        np.save(tmp_path / f"{clip_id}.npy", np.concatenate([pose, np.repeat(pose[-1:], 9 * number, axis=0)]))
    (said,) = warnings_on(read_predictions(tmp_path, references), references)
    assert said.startswith(f"1 of 2 clips, such as '{references[1].id}', end with frames that repeat the one before")
    assert "(9 in all)" in said
    for clip_id, pose in poses.items():
        np.save(
            tmp_path / f"{clip_id}.npy", np.concatenate([np.repeat(pose[:-1:4], 4, axis=0), pose[-1:]])[: len(pose)]
        )
    (said,) = warnings_on(read_predictions(tmp_path, references), references)
    assert re.match(r"2 of 2 clips, such as '.*', hold frames that equal the one before", said)


@pytest.mark.parametrize(("every", "kept"), [(2, 1), (3, 1), (3, 2)])
def test_predictions_that_flicker_are_told(every, kept, data_dir, tmp_path):
    """The frames that show nothing are filled along a line, so a clip that trembles seems calm."""
    references = read_references(load_split(data_dir, "dev"))
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


@pytest.mark.parametrize(
    ("lost", "named"), [(layout.NMM, "facial_aus, head_pose, eye_gaze, mouth_shape"), (layout.EYE_GAZE, "eye_gaze")]
)
def test_predictions_without_a_face_are_told(lost, named, data_dir, tmp_path):
    references = read_references(load_split(data_dir, "dev"))
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


@pytest.mark.parametrize(("lost", "told"), [(0.04, None), (0.3, "a point of the body is shown in 7"), (0.8, "2 of 2")])
def test_arms_that_are_lost_where_they_are_hard_are_told(lost, told, data_dir, tmp_path):
    references = read_references(load_split(data_dir, "dev"))
    for reference in references:
        pose = reference.in_file().astype(np.float32)
        pose[
            1 : 1 + round(lost * len(pose)), layout.keypoint_dims(np.array([layout.LEFT_ELBOW, layout.LEFT_WRIST]))
        ] = 0
        np.save(tmp_path / f"{reference.id}.npy", pose)
    said = warnings_on(read_predictions(tmp_path, references), references)
    assert [text.startswith(str(told)) for text in said if "point" in text] == [True] * (told is not None)


@pytest.mark.parametrize(("mirrored", "told"), [(0, False), (2, False), (5, True)])
def test_poses_of_a_mirrored_video_are_told_by_the_hand_that_they_show(mirrored, told, data_dir):
    """All their points are where the layout has them: x from the other side, and left for right."""
    pose = read_references(load_split(data_dir, "dev"))[0].in_file()
    pose[:, layout.LEFT_HAND] = 0
    points = layout.frame_to_keypoints(pose)
    sides = [n for pair in zip(range(12, 33, 2), range(11, 33, 2), strict=True) for n in pair]
    order = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *sides, *range(54, 75), *range(33, 54)]
    flipped = np.where(points == 0, 0, [1, 0] + points * [-1, 1])[:, order]
    other = layout.keypoints_to_frame(flipped, pose[:, layout.NMM])
    real = Clip.generated(pose)
    references = [Reference(real.pose, real.seen, str(n), "") for n in range(6)]
    clips = [Clip.generated(other)] * mirrored + [real] * (6 - mirrored)
    said = warnings_on(clips, references)
    assert any(f"{mirrored} of 6 clips that show mostly one hand show the other one" in text for text in said) == told
    assert not any("exchanged or it is mirrored" in text for text in said)  # the layout is kept


def test_warnings_stay_with_the_figures(data_dir, tmp_path, capsys):
    """Whoever reads the report, or compares it with another, sees them too."""
    for reference in read_references(load_split(data_dir, "dev")):
        pose = reference.in_file().astype(np.float32)
        pose[:, 0:22] = 0.0  # the head
        (tmp_path / "clips").mkdir(exist_ok=True)
        np.save(tmp_path / "clips" / f"{reference.id}.npy", pose)
    commands.call("evaluate_clips", D=data_dir, F=tmp_path / "clips", O=tmp_path / "out")
    assert f"warning: {tmp_path / 'clips'}: 2 of 2 clips, such as " in capsys.readouterr().out
    path = tmp_path / "out" / "metrics_dev.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    (warning,) = report["warnings"]
    assert "never or rarely show points of the body that their references show" in warning
    assert f"warning: model: {warning}" in format_table(report)
    call(compare_metrics.main, tmp_path / "out", tmp_path / "out", "--row_b", "mean_pose")
    said = capsys.readouterr().out
    assert f"A: warning: {warning}\n" in said
    assert "B: warning" not in said
    for wrong in ("none", [1]):
        path.write_text(json.dumps(report | {"warnings": wrong}), encoding="utf-8")
        refused = functools.partial(call, compare_metrics.main, tmp_path / "out", tmp_path / "out")
        assert "not a report of evaluate.py" in commands.one_sentence(capsys, refused)


def test_one_clip_in_two_files_or_under_another_name_is_refused(tmp_path):
    pose = np.full((3, layout.POSE_DIM), 0.5, np.float32)
    reference = Reference(pose, pose > 0, "\u00fc", "")
    np.save(tmp_path / "u\u0308.npy", pose)  # as macOS names it
    with pytest.raises(UserError, match=r"no such file, nor \.pose; .*'u\\u0308\.npy' is another name or format"):
        read_predictions(tmp_path, [reference])
    np.save(tmp_path / "\u00fc.npy", pose)
    assert len(read_predictions(tmp_path, [reference])) == 1
    (tmp_path / "\u00fc.pose").write_bytes(b"")
    with pytest.raises(UserError, match=r"stands beside .*remove the one of an earlier run"):
        read_predictions(tmp_path, [reference])


def test_points_at_minus_one_are_not_there():
    pose = np.random.default_rng(0).uniform(0.3, 0.7, (4, layout.POSE_DIM)).astype(np.float32)
    nose = layout.keypoint_dims(np.array([layout.NOSE]))
    pose[:, nose] = -1.0
    seen = Clip.generated(pose).seen
    assert not seen[:, nose].any()
    assert np.delete(seen, nose, axis=1).all()


def test_saved_predictions_do_not_replace_those_that_are_scored(data_dir, tmp_path, capsys):
    (tmp_path / "predictions_dev").mkdir()
    words = ("--data_dir", data_dir, "--predictions_dir", tmp_path / "predictions_dev", "--output_dir", tmp_path)
    with pytest.raises(SystemExit) as stop:
        call(evaluate.main, *words, "--split", "dev", "--save_predictions")
    assert stop.value.code == 2
    assert "--save_predictions would overwrite" in capsys.readouterr().err


def test_clips_of_an_earlier_evaluation_do_not_stay_beside_new_figures(data_dir, tmp_path, capsys):
    """visualize.py would show those clips with these figures."""
    (tmp_path / "out" / "predictions_dev").mkdir(parents=True)
    with pytest.raises(SystemExit) as stop:
        call(evaluate.main, "--data_dir", data_dir, "--predictions_dir", tmp_path, "--output_dir", tmp_path / "out")
    assert stop.value.code == 2
    assert "holds the clips of an earlier evaluation" in capsys.readouterr().err


def test_clips_of_two_evaluations_are_never_mixed_nor_beside_the_others_figures(untold, capsys, monkeypatch):
    """Whichever file of the second evaluation can't be written."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save, out = functools.partial(commands.call, "evaluate_clips", "--save_predictions", **untold), untold["O"]
    save()
    earlier = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    for path in untold["F"].iterdir():
        np.save(path, np.load(path) / 2)
    real, left = write_pose, iter([True])
    monkeypatch.setattr(predictions, "write_clip", lambda *words: real(*words) if next(left, None) else full())
    assert "predictions_dev: not written (No space left" in commands.one_sentence(capsys, save)
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == earlier
    monkeypatch.setattr(predictions, "write_clip", real)
    monkeypatch.setattr(evaluate, "write_report", full)
    assert "No space left" in commands.one_sentence(capsys, save)
    assert {path.name for path in out.iterdir()} == {"predictions_dev", "config_dev.json"}
    for path in untold["F"].iterdir():
        np.testing.assert_array_equal(np.load(out / "predictions_dev" / path.name), np.load(path))


def test_saved_predictions_do_not_replace_what_is_no_clip(data_dir, tmp_path, capsys):
    words = ("--data_dir", data_dir, "--predictions_dir", tmp_path, "--output_dir", tmp_path, "--save_predictions")
    refused = functools.partial(call, evaluate.main, *words)
    saved = tmp_path / "predictions_dev"
    saved.write_text("")
    assert f"{saved}: is a file, where" in commands.one_sentence(capsys, refused)
    saved.unlink()
    (saved / "a.npy").mkdir(parents=True)
    assert f"{saved / 'a.npy'}: is no clip" in commands.one_sentence(capsys, refused)
    (saved / "a.npy").rmdir()
    (saved / "notes.txt").write_text("")
    assert f"{saved / 'notes.txt'}: is no clip" in commands.one_sentence(capsys, refused)


def test_an_output_folder_that_takes_no_files_is_refused_before_the_data_are_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/out")):
        words = ("--data_dir", tmp_path / "none", "--predictions_dir", tmp_path, "--output_dir", folder)
        said = commands.one_sentence(capsys, functools.partial(call, evaluate.main, *words))
        assert f"{folder}: not writable (" in said
    require_writable(tmp_path / "new" / "deeper")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_data_of_another_rate_are_neither_scored_nor_learnt_from(data_dir, trained, translator, tmp_path, capsys):
    fast = tmp_path / "fast"
    shutil.copytree(data_dir, fast, ignore=shutil.ignore_patterns("cache"))
    for path in fast.glob("*/poses/*.npz"):
        with np.load(path) as archive:
            np.savez(path, **{**archive, "fps": np.float64(2 * archive["fps"])})
    call_it = functools.partial(commands.call, "evaluate_predictor", D=fast, O=tmp_path / "out", **trained.paths)
    assert "learnt from 25; resample the data with" in commands.one_sentence(capsys, call_it)
    (tmp_path / "clips").mkdir()
    commands.call("data_preparation", D=fast)
    translated = ["evaluate_clips", f"--back_translation_checkpoint {translator}"]
    paths = {"D": fast, "O": tmp_path / "out", "F": tmp_path / "clips"}
    said = commands.one_sentence(capsys, functools.partial(commands.call, *translated, **paths))
    assert "learnt from 25; resample the data with" in said
    for stage in ("predictor", "flow", "prior"):
        paths = {"D": fast, "A": trained.autoencoder, "O": tmp_path / "run"}
        said = commands.one_sentence(capsys, functools.partial(commands.call, stage, **paths))
        assert "learnt from 25; resample the data with" in said
    assert not (tmp_path / "run").exists()


def test_a_page_shows_figures_beside_what_was_scored_alone(data_dir, trained, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    for path in (data / "dev" / "poses").glob("*.npz"):
        with np.load(path) as archive:
            visibility = archive["visibility"].copy()
            visibility[:1, layout.NUM_BODY :] = visibility[4:, layout.NUM_BODY :] = 0  # a hand of three frames is none
            np.savez(path, **{**archive, "visibility": visibility})
    commands.call("evaluate_predictor", "--save_predictions", D=data, O=tmp_path / "scored", **trained.paths)

    def show() -> None:
        words = f"visualize.py --evaluation {tmp_path / 'scored'} --data_dir {data} --output {tmp_path / 'p.html'}"
        monkeypatch.setattr(sys, "argv", words.split())
        errors.run(visualize.main)

    show()
    lines = (data / "dev.txt").read_text().splitlines()
    (data / "dev.txt").write_text("".join(f"{line.split('|')[0]}|another text\n" for line in lines))
    assert "are not those that were scored" in commands.one_sentence(capsys, show)


def test_the_mean_pose_is_that_of_this_train_whatever_the_autoencoder_learnt_from(data_dir, trained, tmp_path):
    data = shutil.copytree(data_dir, tmp_path / "data")
    for path in (data / "train" / "poses").glob("*.npz"):
        with np.load(path) as archive:
            np.savez(path, **{**archive, "keypoints": archive["keypoints"] * np.array([1, 0.9])})
    shutil.rmtree(data / "cache")
    train, references = load_split(data, "train"), read_references(load_split(data, "dev"))
    clip, *_ = baseline_clips(train, references, seed=0)["mean_pose"]
    commands.call("data_preparation", D=data)
    np.testing.assert_array_equal(clip.pose[0], Statistics.load(statistics_path(data, None)).mean)


def test_models_that_learnt_from_other_clips_than_train_are_told(data_dir, trained, translator, tmp_path, capsys):
    """A split made anew: what is test now may have been train. Texts that changed are no other clips."""
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    texts = (data / "train.txt").read_text().splitlines()

    def said() -> list[str]:
        paths = {"D": data, "O": tmp_path / "out", **trained.paths}
        commands.call("evaluate_predictor", f"--back_translation_checkpoint {translator}", **paths)
        report = json.loads((tmp_path / "out" / "metrics_dev.json").read_text(encoding="utf-8"))
        told = [line for line in report["warnings"] if "learnt from other clips" in line]
        assert all(f"warning: {line}" in capsys.readouterr().out for line in told[:1])
        return [line.split(" learnt", 1)[0] for line in told]

    assert said() == []
    (data / "train.txt").write_text("\n".join([f"{texts[0]} again", *texts[1:]]) + "\n")
    commands.call("data_preparation", D=data)
    assert said() == []
    gone = texts[0].split("|")[0]
    (data / "train" / "poses" / f"{gone}.npz").unlink()
    (data / "train" / "nmms" / f"{gone}.pkl").unlink()
    (data / "train.txt").write_text("\n".join(texts[1:]) + "\n")
    assert said() == [str(trained.autoencoder), str(translator)]  # before it is prepared again, and then
    commands.call("data_preparation", D=data)
    assert said() == [str(trained.autoencoder), str(translator)]


def test_without_an_autoencoder_the_scale_is_that_of_this_train(untold, capsys):
    texts = untold["D"] / "train.txt"
    *others, last = texts.read_text().splitlines()
    texts.write_text("".join(f"{line}\n" for line in others))
    for path in (untold["D"] / "train").glob(f"*/{last.split('|')[0]}.*"):
        path.unlink()
    said = commands.one_sentence(capsys, lambda: commands.call("evaluate_clips", **untold))
    assert "made from other train clips than" in said


def test_clips_without_a_text_are_not_signed(untold, data_dir, trained, capsys):
    lines = (data_dir / "dev.txt").read_text(encoding="utf-8").splitlines()
    kept, others = lines[0], [line.split("|")[0] for line in lines[1:]]
    (untold["D"] / "dev.txt").write_text("".join([f"{kept}\n", *(f"{name}|...\n" for name in others)]))
    paths = {"D": untold["D"], "O": untold["O"], **trained.paths}
    commands.call("evaluate_predictor", **paths)
    said = capsys.readouterr().out
    assert f"{len(others)} of {len(lines)} clips of dev have no text to sign and are left out" in said
    report = json.loads((untold["O"] / "metrics_dev.json").read_text())
    assert (report["num_clips"], report["settings"]["clips_left_out"]) == (1, len(others))
    (untold["D"] / "dev.txt").unlink()
    said = commands.one_sentence(capsys, lambda: commands.call("evaluate_predictor", **paths))
    assert "every text is empty, so there is nothing to sign" in said


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "a.npy: holds NaN or infinity"),
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


def test_an_autoencoder_whose_latents_are_no_numbers_is_one_sentence(data_dir, trained, monkeypatch):
    autoencoder, statistics, _ = load_autoencoder(trained.autoencoder)
    monkeypatch.setattr(autoencoder, "encode", lambda x, present, mask: torch.full((1, 4, 8), torch.nan))
    with pytest.raises(UserError, match="latents are not finite"):
        Evaluator(read_references(load_split(data_dir, "dev")), load_split(data_dir, "train"), autoencoder, statistics)


def test_a_phantom_hand_has_other_latents_and_equal_clips_are_encoded_once(data_dir, trained, monkeypatch):
    references = read_references(load_split(data_dir, "test"))
    autoencoder, statistics, _ = load_autoencoder(trained.autoencoder)
    evaluator = Evaluator(references, load_split(data_dir, "train"), autoencoder, statistics)
    left, right = layout.LEFT_HAND, layout.RIGHT_HAND
    assert not references[0].seen[:, left].any()
    phantoms = [reference.in_file() for reference in references]
    for pose in phantoms:
        pose[:, left] = pose[:, right]
    for z, real in zip(evaluator.encode([*map(Clip.generated, phantoms)]), evaluator.reference_latents, strict=True):
        assert np.abs(z - real).max() > 1e-3

    calls = []
    encode = autoencoder.encode
    monkeypatch.setattr(autoencoder, "encode", lambda *args: calls.append(1) or encode(*args))
    for z, known in zip(evaluator.encode(references), evaluator.reference_latents, strict=True):
        assert z is known
    still = Clip.generated(np.tile(statistics.mean, (9, 1)))
    evaluator.encode([still, still])
    assert len(calls) == 1


NEEDS = {
    "--predictions_dir F --num_steps 4": "--num_steps needs --flow_checkpoint",
    "--predictions_dir F --no-use_sync_guidance": "--use_sync_guidance needs --flow_checkpoint",
    "--predictions_dir F --oracle_length": "--oracle_length needs --predictor_checkpoint or --flow_checkpoint",
    "--predictions_dir F --shuffle_texts": "--shuffle_texts needs --predictor_checkpoint or --flow_checkpoint",
    "--predictions_dir F --batch_size 32": "--batch_size needs --predictor_checkpoint or --flow_checkpoint",
    "--predictions_dir F --compile": "--compile needs --predictor_checkpoint or --flow_checkpoint",
    "--predictions_dir F --num_beams 4": "--num_beams needs --back_translation_checkpoint",
    "--predictor_checkpoint P --autoencoder_checkpoint A --solver heun": "--solver needs --flow_checkpoint",
    "--flow_checkpoint F": "--predictor_checkpoint and --flow_checkpoint need --autoencoder_checkpoint",
}


@pytest.mark.parametrize("flags", NEEDS)
def test_a_flag_without_the_one_that_it_needs_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        call(evaluate.main, "--data_dir", "D", "--output_dir", "O", *flags.split())
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {NEEDS[flags]}")
    assert said.count("\n") == 1
