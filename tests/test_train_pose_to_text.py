"""train_pose_to_text.py as its users run it: which clips it learns from, and which epoch is best."""

import json
import shutil
from pathlib import Path

import commands
import pytest


def test_the_best_epoch_is_that_of_the_highest_dev_score(translator):
    lines = [json.loads(line) for line in (translator.parent / "log.jsonl").read_text().splitlines()]
    scores = [line["dev"]["score"] for line in lines if "dev" in line]
    assert len(scores) == 2
    assert lines[-1]["epoch"] == 1 + scores.index(max(scores))


def test_the_back_translators_losses_are_of_the_clips_that_have_a_text(data_dir: Path, tmp_path: Path, capsys):
    """In batches of one, a clip without a text, or with symbols alone, would count as a loss of 0."""
    data = tmp_path / "data"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("cache"))
    lines = (data / "dev.txt").read_text(encoding="utf-8").splitlines()
    (data / "dev.txt").write_text("\n".join([lines[0], *(line.split("|")[0] + "|😀" for line in lines[1:])]))
    for size in (1, 8):
        commands.call("translator", f"--num_epochs 1 --batch_size {size}", D=data, O=tmp_path / str(size))
    losses = [json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0]) for name in ("1", "8")]
    one, all_at_once = (record["dev"]["loss"] for record in losses)
    assert one == pytest.approx(all_at_once, rel=0.2)
    ids = [line.split("|")[0] for line in (data / "test.txt").read_text(encoding="utf-8").splitlines()]
    (data / "test.txt").write_text("".join(f"{clip_id}|\n" for clip_id in ids))
    said = commands.one_sentence(capsys, lambda: commands.call("translator", D=data, O=tmp_path / "no"))
    assert "test.txt: every text is empty; the texts of test are read once, after training" in said


def test_texts_of_emoji_are_not_called_empty(data_dir: Path, tmp_path: Path, capsys):
    """They are texts to sign, but the back-translator reads letters and digits alone."""
    data = tmp_path / "data"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("cache"))
    ids = [line.split("|")[0] for line in (data / "dev.txt").read_text(encoding="utf-8").splitlines()]
    (data / "dev.txt").write_text("".join(f"{clip_id}|😀\n" for clip_id in ids), encoding="utf-8")
    said = commands.one_sentence(capsys, lambda: commands.call("translator", D=data, O=tmp_path / "no"))
    assert "dev.txt: no text has a letter or a digit; the best epoch" in said


def test_the_back_translator_is_not_trained_without_texts_of_dev(untold, capsys):
    said = commands.one_sentence(capsys, lambda: commands.call("translator", D=untold["D"], O=untold["O"]))
    assert "dev.txt: every text is empty" in said
