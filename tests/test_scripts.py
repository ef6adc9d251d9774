"""The commands a user types: every flag is understood, every promised file is there and says what it should."""

import argparse
import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import pytest

from ablation.plan import GROUPS, RECIPES, make_plan, read_recipe
from poses import files, layout
from poses.statistics import Statistics
from poses.texts import read_ids_and_texts
from runtime.errors import UserError

TRAINERS = ("autoencoder", "predictor", "flow", "student")
SAY_WHAT_FLAGS_ARE = sorted(path.stem for path in commands.ROOT.glob("*.py") if "make_parser(" in path.read_text())
FOR_EVERY_TRAINER = (
    "--resume_from last.pt --gradient_accumulation_steps 2 --warmup_steps 10 --early_stopping_patience 5 "
    "--mixed_precision bf16 --ema_decay 0.99 --text_encoder scratch --seed 3 --num_workers 4"
)
ROWS = ("model", "reference", "reconstruction", "mean_pose", "random_clip", "nearest_text")
FIGURES = {
    "dtw",
    "dtw_mje",
    "recognition",
    "motion_ratio",
    "sync_correlation",
    "sync_lag",
    "mse",
    "mse_manual",
    "mse_nmm",
}


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", words)
    return importlib.import_module(words[0].removesuffix(".py")).parse_arguments()


@pytest.mark.parametrize("name", [*TRAINERS, "evaluate_predictor", "evaluate_flow"])
def test_the_full_size_commands_are_understood(name: str, monkeypatch):
    words = commands.COMMANDS[name].split()
    args = vars(parse(words, monkeypatch))
    for flag, value in zip(words, [*words[1:], ""], strict=True):
        if flag.startswith("--"):
            given = args[flag.removeprefix("--")]
            assert given is True or str(given) == value or float(given) == float(value), flag


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_takes_the_common_flags(name: str, monkeypatch):
    words = [*commands.COMMANDS[name].split(), *FOR_EVERY_TRAINER.split()]
    if name == "student":
        args = parse([*words, "--num_layers", "6", "--num_heads", "8"], monkeypatch)
    else:
        args = parse([*words, "--num_heads", "8"], monkeypatch)
    assert (args.resume_from, args.early_stopping_patience, args.ema_decay, args.seed) == ("last.pt", 5, 0.99, 3)


@pytest.mark.parametrize("name", ["predictor", "flow"])
def test_text_is_read_by_multilingual_bert_if_nothing_else_is_said(name: str, monkeypatch):
    assert parse(commands.COMMANDS[name].split(), monkeypatch).text_encoder == "bert-base-multilingual-cased"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.json")), ids=lambda path: path.stem)
def test_every_command_of_an_ablation_is_understood(recipe: Path, monkeypatch):
    for part in make_plan(read_recipe(recipe), ["--data_dir", "D"], [0], GROUPS, [1, 2, 4]).parts:
        assert parse([part.script, *part.flags, "--output_dir", "O"], monkeypatch).output_dir


@pytest.mark.parametrize("script", SAY_WHAT_FLAGS_ARE)
def test_every_flag_says_what_it_is(script: str, monkeypatch):
    parsers = []

    def parse_args(parser, *_, **__):
        parsers.append(parser)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises(SystemExit):
        importlib.import_module(script).main()
    silent = [action.option_strings for action in parsers[0]._actions if len((action.help or "").split(" (")[0]) < 8]
    assert not silent


STAGE_2 = "--data_dir D --output_dir O --autoencoder_checkpoint A"
ALONE = {
    f"train_stage2_latent_flow.py {STAGE_2}": {
        "--lambda_prior 0.1": "--lambda_prior needs --use_ssm_prior",  # the default, but typed
        "--prior_hidden_dim 64": "--prior_hidden_dim needs --use_ssm_prior",
        "--prior_layers 2": "--prior_layers needs --use_ssm_prior",
        "--ssm_prior_type auto": "--ssm_prior_type needs --use_ssm_prior",
        "--guidance_from null_text": "--guidance_from needs --use_ssm_prior",
        "--prior_checkpoint P": "--prior_checkpoint needs --use_ssm_prior",
        "--gamma_guidance 0.01": "--gamma_guidance needs --use_sync_guidance",
    },
    f"train_stage2_predictor.py {STAGE_2}": {
        "--scratch_dim 64": "--scratch_dim needs --text_encoder scratch",
        "--scratch_layers 2": "--scratch_layers needs --text_encoder scratch",
        "--vocab_size 500 --text_encoder bert": "--vocab_size needs --text_encoder scratch",
    },
}


@pytest.mark.parametrize(
    ("command", "flags", "message"), [(command, *case) for command, cases in ALONE.items() for case in cases.items()]
)
def test_a_flag_that_needs_another_says_so(command: str, flags: str, message: str, monkeypatch):
    parse(command.split(), monkeypatch)
    with pytest.raises(UserError, match=f"^{message}; add it, or leave "):
        parse([*command.split(), *flags.split()], monkeypatch)


@pytest.mark.parametrize(
    "flags",
    [
        "--num_epochs 99999999999999999999",
        "--seed 99999999999999999999",
        "--hidden_dim 1e3",
        "--augmentation 1e308",
        "--augmentation inf",
        "--vocab_size 99999999999",
        "--learning_rate nan",
        "--ema_decay 1",
        "--mixed_precision int8",
        "--output_dir=",
    ],
)
def test_values_out_of_bounds_are_refused(flags: str, monkeypatch, capsys):
    command = ["train_pose_to_text.py", "--data_dir", "D", "--output_dir", "O"]
    with pytest.raises(SystemExit, match="2"):
        parse([*command, *flags.split(" ")], monkeypatch)
    assert f"argument {flags.split()[0].rstrip('=')}: " in capsys.readouterr().err


def test_flags_that_repeat_a_checkpoint_form_a_group(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="0"):
        parse(["train_stage2_predictor.py", "--help"], monkeypatch)
    group = capsys.readouterr().out.partition("checked against the autoencoder's checkpoint:")[2].partition(":\n")[0]
    assert "--latent_dim" in group
    assert "--temporal_stride" in group
    assert "--hidden_dim" not in group


def test_a_shell_sees_output_errors_and_exit_codes(trained, data_dir, tmp_path: Path):
    out = commands.run("inference_flow", D=data_dir, O=tmp_path / "clip.npy", A=trained.autoencoder, F=trained.student)
    assert f"wrote {tmp_path / 'clip.npy'} and {tmp_path / 'clip.json'}" in out
    clip = np.load(tmp_path / "clip.npy")
    assert clip.shape == (50, layout.POSE_DIM)
    words = [*commands.arguments("inference", D=data_dir, A=trained.autoencoder, O=tmp_path / "o.npy", P=tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=commands.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path}: no such checkpoint")
    assert done.stderr.count("\n") == 1


def test_preparation_and_stage_1_from_a_shell(data_dir, tmp_path: Path):
    out = commands.run("data_preparation", f"--cache_dir {tmp_path}", D=data_dir)
    assert "train: 12 clips, 12 texts" in out
    assert "fingerprint" in out
    assert Statistics.load(data_dir / "normalization_stats.npz").info["clips"] == 12
    out = commands.run("autoencoder", "--num_workers 2 --num_epochs 1", D=data_dir, O=tmp_path / "run")
    assert "epoch    1  train" in out
    assert f"wrote {tmp_path / 'run/best_model.pt'}" in out


# ---- inference -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("inference", "predictor"), ("inference_flow", "flow")])
def test_inference_writes_a_clip_and_how_it_was_made(name: str, kind: str, trained, data_dir, tmp_path: Path):
    commands.call(name, "--seed 4", D=data_dir, O=tmp_path / "new/output_pose.npy", **trained.paths)
    clip = np.load(tmp_path / "new/output_pose.npy", allow_pickle=False)
    assert clip.shape == (50, layout.POSE_DIM)
    assert clip.dtype == np.float32
    mean = Statistics.load(data_dir / "normalization_stats.npz").mean
    assert np.abs(clip - mean)[:, layout.BODY].mean() < 0.2  # image units: it is denormalised
    record = json.loads((tmp_path / "new/output_pose.json").read_text())
    assert record["text"] == "Hello world"
    assert (record["frames"], record["seed"], record["model"]) == (50, 4, kind)
    assert record["num_steps"] == (4 if kind == "flow" else 1)
    assert set(record["seconds"]) == {"text", "sampling", "decoding"}
    assert record["checkpoints"] == {kind: str(getattr(trained, kind)), "autoencoder": str(trained.autoencoder)}
    assert set(record["fingerprints"]) == {kind, "autoencoder"}


def test_the_seed_decides_the_clip_and_samples_differ(trained, data_dir, tmp_path: Path):
    def sign(out: str, more: str) -> list[bytes]:
        commands.call("inference_flow", more, D=data_dir, O=tmp_path / out / "x.npy", **trained.paths)
        return [path.read_bytes() for path in sorted((tmp_path / out).glob("*.npy"))]

    (first,) = sign("a", "--seed 1")
    assert [first] == sign("b", "--seed 1")
    assert [first] != sign("c", "--seed 2")
    three = sign("d", "--seed 1 --num_samples 3")
    assert len(set(three)) == 3
    assert [path.name for path in sorted((tmp_path / "d").glob("*.json"))] == [f"x_000{n}.json" for n in (1, 2, 3)]
    seeds = [json.loads(path.read_text())["seed"] for path in sorted((tmp_path / "d").glob("*.json"))]
    assert seeds == [1, 2, 3]
    clips = [np.load(tmp_path / name) for name in ("d/x_0002.npy", "c/x.npy")]
    np.testing.assert_allclose(*clips, atol=1e-5)  # sample k of seed s is the sample of seed s + k
    assert sign("e", "--seed 1 --guidance_scale 5") != sign("f", "--seed 1 --guidance_scale 1")


def test_the_flags_of_speed_arrive_and_exclude_each_other(trained, data_dir, tmp_path: Path, capsys):
    paths = {"D": data_dir, "O": tmp_path / "x.npy", **trained.paths}
    commands.call("inference_flow", "--precision int8", **paths)
    record = json.loads((tmp_path / "x.json").read_text())
    assert (record["precision"], record["compiled"]) == ("int8", False)
    with pytest.raises(SystemExit) as stop:
        commands.call("inference_flow", "--precision int8 --compile", **paths)
    assert stop.value.code == 2
    assert "int8 is for a CPU, without --compile" in capsys.readouterr().err


def test_a_file_of_texts_becomes_a_file_each_and_lengths_come_from_the_text(trained, tmp_path: Path):
    (tmp_path / "texts.txt").write_text("\ufeffhello\n\nl o n g\u2028line | bar\r\n", encoding="utf-8")
    assert read_ids_and_texts(tmp_path / "texts.txt") == (None, ["hello", "l o n g line | bar"])
    commands.call("inference_texts", "--num_samples 2", O=tmp_path / "x.npy", T=tmp_path / "texts.txt", **trained.paths)
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("x_*.json"))]
    assert [record["text"] for record in records] == ["hello"] * 2 + ["l o n g line | bar"] * 2
    for record, path in zip(records, sorted(tmp_path.glob("x_*.npy")), strict=True):
        assert np.load(path).shape == (record["frames"], layout.POSE_DIM)
        assert record["frames"] >= 1


# ---- evaluation ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(trained, data_dir, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("evaluation")
    commands.call("evaluate_predictor", "--num_workers 0", D=data_dir, O=folder, **trained.paths)
    return folder, json.loads((folder / "metrics_dev.json").read_text())


def test_the_report_has_every_row_and_every_figure(report):
    folder, content = report
    assert [name for name in content if name in ROWS] == list(ROWS)
    for row in ROWS:
        assert content[row].keys() >= FIGURES
    assert set(content["model"]["latency"]) == {"text", "sampling", "decoding"}
    assert content["num_clips"] == 2
    assert content["split"] == "dev"
    assert content["length_source"] == "predicted"
    assert set(content["checkpoints"]) >= {"predictor", "autoencoder"}
    assert content["settings"]["model"] == "predictor"
    assert pickle.loads((folder / "metrics_dev.pkl").read_bytes()) == content


def test_the_reference_is_perfect_and_the_mean_stands_still(report):
    _, content = report
    for figure in ("dtw", "dtw_mje", "mse", "mse_manual", "mse_nmm"):
        assert content["reference"][figure] == pytest.approx(0, abs=1e-9)
        assert content["mean_pose"][figure] > 0
    assert content["reference"]["recognition"] == 1
    assert content["reference"]["motion_ratio"] == pytest.approx(1)
    assert content["mean_pose"]["motion_ratio"] == pytest.approx(0, abs=1e-6)


def test_saved_predictions_are_scored_as_their_model_was(report, data_dir, tmp_path: Path, capsys):
    folder, content = report
    predictions = folder / "predictions_dev"
    assert {path.stem for path in predictions.iterdir()} == set(files.list_clips(data_dir, "dev"))
    commands.call("evaluate_clips", D=data_dir, F=predictions, O=tmp_path)
    assert "no row 'reconstruction'" in (out := capsys.readouterr().out)
    assert "nearest_text" in out  # the table
    again = json.loads((tmp_path / "metrics_dev.json").read_text())
    assert "reconstruction" not in again
    assert again["length_source"] == "given"
    for figure in FIGURES:
        assert again["model"][figure] == pytest.approx(content["model"][figure])


def test_evaluation_of_a_student_on_test(trained, data_dir, tmp_path: Path):
    commands.call("evaluate_flow", "--oracle_length", D=data_dir, O=tmp_path, A=trained.autoencoder, F=trained.student)
    content = json.loads((tmp_path / "metrics_test.json").read_text())
    assert content["settings"]["num_steps"] == 4
    assert content["length_source"] == "oracle"
    assert set(content["checkpoints"]) >= {"student", "autoencoder"}
    assert not list(tmp_path.glob("predictions*"))


def test_a_flow_in_pose_space_trains_distils_and_signs(trained, data_dir: Path, tmp_path: Path):
    """The comparison without stage 1: the same commands, the normalised poses in the latents' place."""
    paths = {"D": data_dir, "A": trained.autoencoder}
    cache = f"--cache_dir {tmp_path / 'cache'} --num_epochs 1"
    pose_shape = "--latent_dim 214 --space pose --use_sync_guidance"
    commands.call("flow", f"{cache} {pose_shape}", O=tmp_path / "flow", **paths)
    flow = tmp_path / "flow" / "best_model.pt"
    commands.call("student", cache, O=tmp_path / "student", F=flow, **paths)
    for checkpoint in (flow, tmp_path / "student" / "best_model.pt"):
        commands.call("inference_flow", "--target_length 23", O=tmp_path / "clip.npy", F=checkpoint, **paths)
        assert np.load(tmp_path / "clip.npy").shape == (23, layout.POSE_DIM)
    record = json.loads((tmp_path / "clip.json").read_text())
    assert (record["space"], record["model"]) == ("pose", "student")


def test_pose_space_refuses_the_latents_shape(trained, data_dir: Path, tmp_path: Path, capsys):
    with pytest.raises(SystemExit, match="2"):
        commands.call("flow", "--space pose", D=data_dir, A=trained.autoencoder, O=tmp_path)
    assert "--latent_dim 8 contradicts 214 in the pose space" in capsys.readouterr().err
