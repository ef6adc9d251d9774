"""evaluate.py as its users run it, on small models."""

import functools
import json
import shutil
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import torch

import evaluate
import visualize
from checkpoints import load_autoencoder
from evaluation import predictions
from evaluation.clips import Clip, read_references
from evaluation.evaluator import Evaluator
from evaluation.report import ROWS, format_table
from poses import layout
from poses.splits import load_split
from poses.writing import write_clip as write_pose
from runtime import errors
from runtime.errors import UserError
from runtime.files import require_writable


def test_every_row_has_every_figure(evaluated, translator):
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
            low, _, high = (report[row][f"{key}{end}"] for end in ("_low", "", "_high"))
            assert low is high is None, (row, key)  # two clips show no interval
    assert report["reference"]["frechet"] == pytest.approx(0, abs=1e-6)
    assert report["reference"]["speed_ratio"] == report["reference"]["jerk_ratio"] == 1
    assert report["mean_pose"]["frechet"] > report["reference"]["frechet"]
    assert report["random_clip"]["copied_frames"] == 1


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
    commands.call_script("compare_metrics.py", untold["O"], untold["O"], "--row_b", "reference")
    assert "A: recognition uses 0 clips" in capsys.readouterr().out


def test_half_of_the_texts_are_the_truth_of_half_of_the_clips(untold, data_dir, trained):
    lines = (data_dir / "dev.txt").read_text(encoding="utf-8").splitlines()
    first, others = lines[0], [f"{line.split('|')[0]}|\n" for line in lines[1:]]
    (untold["D"] / "dev.txt").write_text("".join([f"{first}\n", *others]), encoding="utf-8")
    commands.call("evaluate_clips", f"--autoencoder_checkpoint {trained.autoencoder}", **untold)
    report = json.loads((untold["O"] / "metrics_dev.json").read_text(encoding="utf-8"))
    assert report["nearest_text"]["compared_clips"] == 1
    assert report["nearest_text"]["frechet"] > 0  # of that clip's latents alone
    assert report["random_clip"]["compared_clips"] == report["num_clips"] == len(lines)


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


def test_clips_whose_text_is_too_long_for_the_model_are_left_out(untold, data_dir, trained, capsys):
    first, *others = (data_dir / "dev.txt").read_text(encoding="utf-8").splitlines()
    long = f"{first.split('|')[0]}|{'a b ' * 200}"
    (untold["D"] / "dev.txt").write_text("\n".join([long, *others]), encoding="utf-8")
    paths = untold | {"A": trained.autoencoder, "F": trained.flow}
    commands.call("evaluate_flow", "--split dev --num_workers 0", **paths)
    assert "have a text of more than 256 tokens" in capsys.readouterr().out
    report = json.loads((untold["O"] / "metrics_dev.json").read_text(encoding="utf-8"))
    assert (report["num_clips"], report["settings"]["clips_left_out"]) == (len(others), 1)


def test_copies_are_not_counted_in_train_itself(data_dir, trained, tmp_path):
    options = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow, "O": tmp_path}
    commands.call("evaluate_flow", "--split train --num_steps 2 --num_workers 0", **options)
    report = json.loads((tmp_path / "metrics_train.json").read_text(encoding="utf-8"))
    assert "copied_frames" not in report["model"]
    assert "copy_distance" not in report["thresholds"]
    assert report["nearest_text"]["dtw"] > 0


def test_the_seed_of_the_comparison_rows_is_named(untold):
    """They are drawn by it, whoever made the clips."""
    commands.call("evaluate_clips", "--seed 3", **untold)
    report = json.loads((untold["O"] / "metrics_dev.json").read_text(encoding="utf-8"))
    assert report["settings"]["seed"] == 3


def test_models_that_learnt_from_other_clips_than_train_are_told(data_dir, trained, translator, tmp_path, capsys):
    """A split made anew: what is test now may have been train. Texts that changed are no other clips."""
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    texts = (data / "train.txt").read_text().splitlines()

    def said() -> list[str]:
        paths = {"D": data, "O": tmp_path / "out", **trained.paths}
        commands.call("evaluate_predictor", f"--num_workers 0 --back_translation_checkpoint {translator}", **paths)
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


def test_without_an_autoencoder_the_scale_is_that_of_this_train(untold, capsys):
    texts = untold["D"] / "train.txt"
    *others, last = texts.read_text().splitlines()
    texts.write_text("".join(f"{line}\n" for line in others))
    for path in (untold["D"] / "train").glob(f"*/{last.split('|')[0]}.*"):
        path.unlink()
    said = commands.one_sentence(capsys, lambda: commands.call("evaluate_clips", **untold))
    assert "made from other train clips than" in said


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


def test_an_autoencoder_whose_latents_are_no_numbers_is_one_sentence(data_dir, trained, monkeypatch):
    autoencoder, statistics, _ = load_autoencoder(trained.autoencoder)
    monkeypatch.setattr(autoencoder, "encode", lambda x, present, mask: torch.full((1, 4, 8), torch.nan))
    with pytest.raises(UserError, match="latents are not finite"):
        Evaluator(read_references(load_split(data_dir, "dev")), load_split(data_dir, "train"), autoencoder, statistics)


def test_saved_predictions_do_not_replace_those_that_are_scored(data_dir, tmp_path, capsys):
    (tmp_path / "predictions_dev").mkdir()
    words = ("--data_dir", data_dir, "--predictions_dir", tmp_path / "predictions_dev", "--output_dir", tmp_path)
    call = functools.partial(commands.call_script, "evaluate.py", *words, "--split", "dev", "--save_predictions")
    assert "--save_predictions would overwrite" in commands.one_sentence(capsys, call)


def test_saved_predictions_do_not_replace_what_is_no_clip(data_dir, tmp_path, capsys):
    words = ("--data_dir", data_dir, "--predictions_dir", tmp_path, "--output_dir", tmp_path, "--save_predictions")
    refused = functools.partial(commands.call_script, "evaluate.py", *words)
    saved = tmp_path / "predictions_dev"
    saved.write_text("")
    assert f"{saved}: is a file, where" in commands.one_sentence(capsys, refused)
    saved.unlink()
    (saved / "a.npy").mkdir(parents=True)
    assert f"{saved / 'a.npy'}: is no clip" in commands.one_sentence(capsys, refused)
    (saved / "a.npy").rmdir()
    (saved / "notes.txt").write_text("")
    assert f"{saved / 'notes.txt'}: is no clip" in commands.one_sentence(capsys, refused)


def test_clips_of_an_earlier_evaluation_do_not_stay_beside_new_figures(data_dir, tmp_path, capsys):
    """visualize.py would show those clips with these figures."""
    (tmp_path / "out" / "predictions_dev").mkdir(parents=True)
    words = ("--data_dir", data_dir, "--predictions_dir", tmp_path, "--output_dir", tmp_path / "out")
    call = functools.partial(commands.call_script, "evaluate.py", *words)
    assert "holds the clips of an earlier evaluation" in commands.one_sentence(capsys, call)


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


def test_a_page_shows_figures_beside_what_was_scored_alone(data_dir, trained, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(data_dir, tmp_path / "data", ignore=shutil.ignore_patterns("cache"))
    for path in (data / "dev" / "poses").glob("*.npz"):
        with np.load(path) as archive:
            visibility = archive["visibility"].copy()
            visibility[:1, layout.NUM_BODY :] = visibility[4:, layout.NUM_BODY :] = 0  # a hand of three frames is none
            np.savez(path, **{**archive, "visibility": visibility})
    commands.call(
        "evaluate_predictor", "--save_predictions --num_workers 0", D=data, O=tmp_path / "scored", **trained.paths
    )

    def show() -> None:
        words = f"visualize.py --evaluation {tmp_path / 'scored'} --data_dir {data} --output {tmp_path / 'p.html'}"
        monkeypatch.setattr(sys, "argv", words.split())
        errors.run(visualize.main)

    show()
    lines = (data / "dev.txt").read_text().splitlines()
    (data / "dev.txt").write_text("".join(f"{line.split('|')[0]}|another text\n" for line in lines))
    assert "are not those that were scored" in commands.one_sentence(capsys, show)


def test_an_output_folder_that_takes_no_files_is_refused_before_the_data_are_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/out")):
        words = ("--data_dir", tmp_path / "none", "--predictions_dir", tmp_path, "--output_dir", folder)
        said = commands.one_sentence(capsys, functools.partial(commands.call_script, "evaluate.py", *words))
        assert f"{folder}: not writable (" in said
    require_writable(tmp_path / "new" / "deeper")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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
    words = ("--data_dir", "D", "--output_dir", "O", *flags.split())
    said = commands.one_sentence(capsys, functools.partial(commands.call_script, "evaluate.py", *words))
    assert said.startswith(f"error: {NEEDS[flags]}")
