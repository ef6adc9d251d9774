"""The ablation: which parts a plan has, that each runs once and goes on where it stopped, and what the tables say."""

import contextlib
import csv
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import commands
import numpy as np
import pytest

import run_ablation
from ablation import parts
from ablation.parts import Part, is_done, keys_of, run_parts
from ablation.plan import RECIPES, WHOLE, Plan, Row, make_plan, read_recipe
from ablation.report import Line, write_tables
from evaluation import registry
from runtime.errors import UserError
from training import latents, trajectories

COUNTING = """import argparse, pathlib
parser = argparse.ArgumentParser()
for flag in ("--output_dir", "--resume_from", "--word", "--of"):
    parser.add_argument(flag)
parser.add_argument("--overwrite", action="store_true")
args = parser.parse_args()
folder = pathlib.Path(args.output_dir)
with open(folder / "runs", "a") as file:
    fresh = "overwritten" if args.overwrite else "fresh"
    file.write(f"{args.word} {pathlib.Path(args.resume_from).name if args.resume_from else fresh}\\n")
(folder / "last.pt").touch()
if args.word == "fail":
    raise SystemExit("error: no such word; say another")
if args.of:
    assert pathlib.Path(args.of).is_file()
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch) -> Path:
    """A script that notes each of its runs, in the place of the project's."""
    path = tmp_path / "train_word.py"
    path.write_text(COUNTING)
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    return path


def word(name: str, text: str, *more: str) -> Part:
    return Part(name, "train_word.py", ("--word", text, *more))


def runs(output_dir: Path, name: str) -> list[str]:
    return (output_dir / name / "runs").read_text().splitlines()


def test_every_part_runs_once_and_after_what_it_needs(script, tmp_path: Path):
    plan = [word("first", "a"), word("second", "b", "--of", "@first/last.pt"), word("third", "c")]
    for _ in range(2):
        run_parts(plan, "data", tmp_path / "out", jobs=2)
    assert [runs(tmp_path / "out", part.name) for part in plan] == [["a fresh"], ["b fresh"], ["c fresh"]]


class Killed(BaseException):
    """What ends an ablation without a chance to clean up."""


def test_a_kill_while_an_outdated_part_is_removed_leaves_none_of_it(script, tmp_path: Path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(UserError):
        run_parts([word("first", "fail")], "data", out, jobs=1)

    def killed(folder: Path, **_: object) -> None:
        (folder / "part.json").unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(parts.shutil, "rmtree", killed)
        with pytest.raises(Killed):
            run_parts([word("first", "a")], "data", out, jobs=1)
    run_parts([word("first", "a")], "data", out, jobs=1)
    assert runs(out, "first") == ["a fresh"]


def test_a_kill_before_a_parts_first_record_is_whole_leaves_no_obstacle(script, tmp_path: Path):
    out = tmp_path / "out"
    (out / "first").mkdir(parents=True)
    (out / "first" / ".part.json.0123abcd-1.0123abcd").touch()
    run_parts([word("first", "a")], "data", out, jobs=1)
    assert runs(out, "first") == ["a fresh"]
    (out / "second").mkdir()
    (out / "second" / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds something that is no part of an ablation"):
        run_parts([word("second", "a")], "data", out, jobs=1)


def test_a_changed_flag_runs_again_what_depends_on_it_and_nothing_else(script, tmp_path: Path):
    out = tmp_path / "out"
    others = [word("second", "b", "--of", "@first/last.pt"), word("third", "c")]
    run_parts([word("first", "a"), *others], "data", out, jobs=1)
    kept = (out / "third" / "runs").stat().st_mtime_ns
    run_parts([word("first", "z"), *others], "data", out, jobs=1)
    assert runs(out, "first") == ["z fresh"]
    assert runs(out, "second") == ["b fresh"]
    assert (out / "third" / "runs").stat().st_mtime_ns == kept


def test_a_part_that_fails_to_begin_again_costs_nothing_of_before(script, tmp_path: Path):
    """With a mistyped flag, and with the right one again."""
    out = tmp_path / "out"
    for text in ("a", "fail", "fail too", "a"):
        script.write_text(COUNTING.replace('== "fail"', '.startswith("fail")'))
        with contextlib.nullcontext() if text == "a" else pytest.raises(UserError, match="no such word"):
            run_parts([word("first", text)], "data", out, jobs=1)
    assert runs(out, "first") == ["a fresh"]
    run_parts([word("first", "b")], "data", out, jobs=1)
    assert runs(out, "first") == ["b fresh"]
    assert [path.name for path in out.iterdir()] == ["first"]


def test_flags_that_change_no_result_run_nothing_again(script, tmp_path: Path):
    one, other = (word("a", "a", "--data_dir", place, "--num_workers", "2", "--word", "b") for place in ("d", "/all/d"))
    assert keys_of([one], "data") == keys_of([other], "data")
    assert keys_of([one], "data") == keys_of([word("a", "a", "--num_workers=0", "--word", "b")], "data")
    assert keys_of([one], "data") != keys_of([word("a", "a", "--early_stopping_patience", "3", "--word", "b")], "data")
    assert keys_of([one], "data") != keys_of([word("a", "a", "--data_dir", "d", "--word", "c")], "data")


def test_a_failure_is_told_before_another_part_begins(script, tmp_path: Path):
    parts = [word("first", "fail"), word("second", "b"), word("third", "c")]
    with pytest.raises(UserError, match="no such word"):
        run_parts(parts, "data", tmp_path / "out", jobs=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["first"]


def test_other_data_runs_everything_again():
    plan = [word("first", "a"), word("second", "b", "--of", "@first/last.pt")]
    ours, theirs = keys_of(plan, "data"), keys_of(plan, "other data")
    assert not set(ours.values()) & set(theirs.values())


def test_a_version_that_computes_otherwise_runs_again_what_depends_on_it(monkeypatch):
    plan = make_plan(read_recipe(RECIPES / "small.json"), [], [0], ["components", "steps"], ())
    trained = {part.name for part in plan.parts if part.trains}

    def again(module: ModuleType, version: str) -> set[str]:
        before = keys_of(plan.parts, "data")
        with monkeypatch.context() as raised:
            raised.setattr(module, version, 99)
            after = keys_of(plan.parts, "data")
        return {name for name in before if before[name] != after[name]}

    assert again(trajectories, "TRAJECTORIES_VERSION") & trained == {"student_seed0"}
    assert again(latents, "LATENTS_VERSION") & trained == trained - {"autoencoder", "back_translation"}
    assert again(registry, "METRICS_VERSION") == {part.name for part in plan.parts} - trained


@pytest.mark.parametrize("changed", ["a text of train", "a clip of test", "a signer", "nothing"])
def test_changed_texts_and_clips_are_other_data(changed: str, data_dir: Path, tmp_path: Path, monkeypatch):
    data, keys = tmp_path / "data", []
    shutil.copytree(data_dir, data)
    monkeypatch.setattr(run_ablation, "run_parts", lambda parts, data, *_: keys.append(data))
    monkeypatch.setattr(run_ablation, "write_results", lambda *_: None)

    def run() -> None:
        commands.call_script("run_ablation.py", "--data_dir", data, "--output_dir", tmp_path / "out")

    run()
    if changed == "a text of train":
        path = data / "train.txt"
        path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + " s\n", encoding="utf-8")
    elif changed == "a signer":
        ids = [line.split("|")[0] for line in (data / "dev.txt").read_text(encoding="utf-8").splitlines()]
        (data / "dev.signers.txt").write_text("".join(f"{clip_id}|anna\n" for clip_id in ids))
    elif changed == "a clip of test":
        path = next((data / "test" / "poses").glob("*.npz"))
        with np.load(path) as archive:
            np.savez(path, **{**archive, "keypoints": archive["keypoints"] + 1e-4})
    run()
    assert (keys[0] == keys[1]) == (changed == "nothing")


def test_a_stopped_training_goes_on_from_its_last_checkpoint_and_a_failure_names_its_reason(script, tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"first: no such word; say another .*output\.log"):
        run_parts([word("first", "fail"), word("second", "b", "--of", "@first/last.pt")], "data", out, jobs=1)
    assert not (out / "second").exists()
    with pytest.raises(UserError):
        run_parts([word("first", "fail")], "data", out, jobs=1)
    assert runs(out, "first") == ["fail fresh", "fail last.pt"]


def test_a_training_that_was_stopped_before_its_first_checkpoint_begins_again(script, tmp_path: Path):
    script.write_text(COUNTING.replace('(folder / "last.pt").touch()', ""))
    for _ in range(2):
        with pytest.raises(UserError, match="no such word"):
            run_parts([word("first", "fail")], "data", tmp_path / "out", jobs=1)
    assert runs(tmp_path / "out", "first") == ["fail fresh", "fail overwritten"]


def test_a_folder_that_is_no_part_is_left_alone(script, tmp_path: Path):
    (tmp_path / "out" / "first").mkdir(parents=True)
    (tmp_path / "out" / "first" / "thesis.tex").touch()
    with pytest.raises(UserError, match="no part of an ablation"):
        run_parts([word("first", "a")], "data", tmp_path / "out", jobs=1)
    assert (tmp_path / "out" / "first" / "thesis.tex").is_file()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": 1}', '{"key": "a", "seconds": "long"}', "[" * 10**5])
def test_a_damaged_record_of_a_part_is_named(content: str, script, tmp_path: Path):
    run_parts([word("first", "a")], "data", tmp_path / "out", jobs=1)
    (tmp_path / "out" / "first" / "part.json").write_text(content)
    with pytest.raises(UserError, match=r"part\.json: not the record of a part; delete .*first, and the part"):
        run_parts([word("first", "a")], "data", tmp_path / "out", jobs=1)
    shutil.rmtree(tmp_path / "out" / "first")
    run_parts([word("first", "a")], "data", tmp_path / "out", jobs=1)
    assert runs(tmp_path / "out", "first") == ["a fresh"]


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.json")), ids=lambda path: path.stem)
def test_the_scripts_understand_every_part_of_the_recipes(recipe: Path, monkeypatch):
    plan = make_plan(
        read_recipe(recipe), ["--data_dir", "D"], [0, 20261130], ["components", "steps", "strides"], [1, 4]
    )
    for part in plan.parts:
        flags = [*part.flags, "--output_dir", "O"]
        monkeypatch.setattr(sys, "argv", [part.script, *flags])
        __import__(part.script.removesuffix(".py")).parse_arguments()
        assert set(part.needs) <= {other.name for other in plan.parts[: plan.parts.index(part)]}


def test_the_parts_differ_in_what_their_names_say():
    plan = make_plan(read_recipe(RECIPES / "small.json"), [], [0], ["components", "strides"], [1])
    flags = {part.name: part.flags for part in plan.parts}
    whole = flags["flow_seed0"]
    prior = whole.index("--use_ssm_prior")
    assert whole[:prior] + whole[-2:] == flags["flow_no_prior_seed0"]
    assert flags["flow_pose_seed0"][:-4] == whole[:-2]  # then --space pose, and the seed
    assert flags["flow_not_joined_seed0"] == (*whole[:-2], "--joined_clips", "0", *whole[-2:])
    evaluation = flags["evaluation_flow_50_steps_no_sync_seed0"]
    assert set(evaluation) ^ set(flags["evaluation_flow_50_steps_seed0"]) == {"--no-use_sync_guidance"}
    evaluation = flags["evaluation_flow_50_steps_from_null_text_seed0"]
    assert set(evaluation) ^ set(flags["evaluation_flow_50_steps_seed0"]) == {"--guidance_from", "null_text"}
    evaluation = flags["evaluation_flow_50_steps_from_t_0_seed0"]
    assert set(evaluation) ^ set(flags["evaluation_flow_50_steps_seed0"]) == {"--guidance_start"}
    assert evaluation[evaluation.index("--guidance_start") + 1] == "0"
    one = flags["autoencoder_stride1"]  # six numbers of a latent are measured at every stride, the others learnt
    assert (one[one.index("--latent_dim") + 1], one[one.index("--temporal_stride") + 1]) == ("14", "1")


def changed_recipe(folder: Path, stage: str, flags: str, name: str = "small") -> Path:
    """A recipe with more flags of one stage."""
    recipe = json.loads((RECIPES / f"{name}.json").read_text(encoding="utf-8"))
    (folder / "recipe.json").write_text(json.dumps(recipe | {stage: f"{recipe[stage]} {flags}"}))
    return folder / "recipe.json"


@pytest.mark.parametrize(
    ("stage", "flags", "said"),
    [
        ("autoencoder", "--temporal_stride two", "--temporal_stride 'two' is no number"),
        ("autoencoder", "--temporal_stride", "--temporal_stride '' is no number"),
        ("autoencoder", "--latent_dim nan", "--latent_dim 'nan' is no number"),
        ("autoencoder", "--temporal_stride 0", "--temporal_stride 0; choose from 1, 2, 4"),
        ("flow", "--joined_clips half", "--joined_clips 'half' is no number"),
        ("flow", "--use_ssm_prior", "'flow' has --use_ssm_prior, which the ablation sets itself"),
        ("flow", "--space pose", "'flow' has --space, which the ablation sets itself"),
        ("student", "--teacher_checkpoint T", "'student' has --teacher_checkpoint, which the ablation sets itself"),
        ("evaluation", "--split dev", "'evaluation' has --split, which the ablation sets itself"),
        ("evaluation", "--num_steps 4", "'evaluation' has --num_steps, which the ablation sets itself"),
        ("evaluation", "--guidance_start=0.5", "'evaluation' has --guidance_start, which the ablation sets itself"),
        ("student", "--seed=3", "'student' has --seed, which the ablation sets itself"),
    ],
)
def test_a_recipe_with_a_mistake_is_one_sentence(stage: str, flags: str, said: str, tmp_path: Path):
    with pytest.raises(UserError, match=said):
        make_plan(read_recipe(changed_recipe(tmp_path, stage, flags)), [], [0], ["components", "strides"], [1])


def test_the_last_of_two_values_of_a_recipe_counts(tmp_path: Path):
    recipe = read_recipe(changed_recipe(tmp_path, "autoencoder", "--latent_dim=22 --temporal_stride=2"))
    (part,) = (p for p in make_plan(recipe, [], [0], ["strides"], [1]).parts if p.name == "autoencoder_stride1")
    assert part.flags[-4:] == ("--latent_dim", "14", "--temporal_stride", "1")  # six are measured: 6 + 16 * 1 / 2


@pytest.mark.parametrize("flags", ["", "--joined_clips 0", "--joined_clips=0.0"])
def test_a_recipe_that_joins_no_clips_has_no_flow_without_them(flags: str, tmp_path: Path):
    recipe = read_recipe(changed_recipe(tmp_path, "flow", flags, "full_size"))
    plan = make_plan(recipe, [], [0], ["components"], [1])
    assert not any("joined" in part.name for part in plan.parts)


def test_a_recipe_that_drops_no_text_has_nothing_that_the_null_text_guides():
    recipe = read_recipe(RECIPES / "small.json")
    recipe["flow"] += ["--cfg_dropout", "0"]
    names = [part.name for part in make_plan(recipe, [], [0], ["components"], [1]).parts]
    assert "flow_seed0" in names
    assert not [name for name in names if "null_text" in name or "no_prior" in name]


@pytest.mark.parametrize("part", ["flow", "evaluation"])
def test_a_recipe_that_is_not_guided_has_nothing_that_the_null_text_guides(part: str):
    recipe = read_recipe(RECIPES / "small.json")
    recipe[part] += ["--guidance_scale", "1"]
    names = [part.name for part in make_plan(recipe, [], [0], ["components"], [1]).parts]
    assert "flow_no_prior_seed0" in names
    assert not [name for name in names if "null_text" in name]


@pytest.mark.parametrize(
    ("stage", "flag", "reason"),
    [
        ("student", "--num_epochz 3", "unrecognized arguments: --num_epochz 3"),
        ("flow", "--hidden_dim wide", "argument --hidden_dim: "),
    ],
)
def test_a_flag_that_a_script_does_not_know_is_told_before_anything_is_trained(
    stage: str, flag: str, reason: str, data_dir: Path, tmp_path: Path, capsys
):
    recipe = changed_recipe(tmp_path, stage, flag)
    words = ("--data_dir", data_dir, "--output_dir", tmp_path / "out", "--recipe", recipe)
    said = commands.one_sentence(capsys, lambda: commands.call_script("run_ablation.py", *words))
    assert f"of {stage}_seed0: {reason}" in said
    assert not list((tmp_path / "out").glob("*_seed0"))


@pytest.mark.parametrize("shown", [True, False])
def test_without_a_face_there_is_no_sync_guidance(shown: bool, data_dir: Path, tmp_path: Path, monkeypatch, capsys):
    """Such a flow would be refused, after all of stage 1, for a flag that nobody typed."""
    data, plans = tmp_path / "data", []
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("cache"))
    for path in [] if shown else data.glob("train/nmms/*.pkl"):
        nmm = pickle.loads(path.read_bytes())
        path.write_bytes(pickle.dumps({name: np.zeros_like(values) for name, values in nmm.items()}))
    monkeypatch.setattr(run_ablation, "run_parts", lambda *_: None)
    monkeypatch.setattr(run_ablation, "write_results", lambda plan, *_: plans.append(plan))
    commands.call_script("run_ablation.py", "--data_dir", data, "--output_dir", tmp_path / "out")
    (plan,) = plans
    assert any("--use_sync_guidance" in part.flags for part in plan.parts) == shown
    assert any(row.label == "without sync guidance" for row in plan.rows) == shown
    assert ("no train clip shows a face" in capsys.readouterr().out) != shown


def test_a_stage_that_no_recipe_has_and_a_prior_that_is_none_are_refused(tmp_path: Path):
    recipe, path = json.loads((RECIPES / "small.json").read_text(encoding="utf-8")), tmp_path / "recipe.json"
    path.write_text(json.dumps({**recipe, "prior": "--lambda_prior 0.1"}))
    with pytest.raises(UserError, match="'prior' needs --use_ssm_prior"):
        read_recipe(path)
    path.write_text(json.dumps({**recipe, "teacher": "--num_epochs 3"}))
    with pytest.raises(UserError, match="'teacher' is no stage of a recipe"):
        read_recipe(path)


@pytest.mark.parametrize("flags", ["--seeds 1 1", "--groups strides --temporal_strides 2 2"])
def test_a_seed_or_stride_given_twice_is_one_sentence(flags: str, data_dir: Path, tmp_path: Path, capsys):
    words = ("--data_dir", data_dir, "--output_dir", tmp_path / "out", *flags.split())
    said = commands.one_sentence(capsys, lambda: commands.call_script("run_ablation.py", *words))
    assert "one of them is given twice" in said


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"autoencoder": 3}', '{"autoencoder": null}'])
def test_a_bad_recipe_is_one_sentence(content: str, tmp_path: Path):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(UserError, match="not a recipe"):
        read_recipe(tmp_path / "recipe.json")


def test_the_latency_is_that_of_a_text_like_the_others_whatever_the_first_one_is():
    texts = ["", "long " * 300, "...", "hello", "good morning to you", "good morning"]
    assert run_ablation.text_of_median_length(texts) == "good morning to you"


def table_of_a_difference(low: float, high: float, seeds: list[int], folder: Path) -> str:
    """ablation.md with one row beside the whole, whose DTW of 2 differs by 1e-8, with this interval."""
    whole, other = (Row(label, "components", "flow") for label in (WHOLE, "other"))
    apart = {"a": 2.0, "b": 2.0, "difference": 1e-8, "low": low, "high": high}
    mean = {"dtw": 2.0, "motion_ratio": 1.0, "jerk_ratio": 1.0}
    lines = [Line(row, mean, {}, {}, {}, {"dtw": apart}) for row in (whole, other)]
    write_tables(folder, Plan([], [whole, other], seeds), lines, [])
    return (folder / "ablation.md").read_text(encoding="utf-8")


def test_a_difference_that_is_rounding_is_not_bold(tmp_path: Path):
    assert "+0.000 [+0.000, +0.000]" in table_of_a_difference(5e-9, 2e-8, [0, 1], tmp_path)
    assert "**+0.000" not in table_of_a_difference(5e-9, 2e-8, [0, 1], tmp_path)


def test_the_intervals_of_one_seed_say_nothing_of_seeds(tmp_path: Path):
    of_one, of_two = (table_of_a_difference(-1.0, 1.0, seeds, tmp_path) for seeds in ([0], [0, 1]))
    assert "One seed." in of_one
    assert "another draw of clips, and not of seeds;" in of_one
    assert "Mean ± standard deviation over 2 seeds." in of_two
    assert "another draw of clips and of seeds;" in of_two


@pytest.fixture
def in_process(monkeypatch) -> None:
    """Parts run as calls in this process, which spares 20 starts of Python."""

    class Call:
        def __init__(self, command: list[str], **_: object) -> None:
            self.script, self.flags = Path(command[1]).name, command[2:]

        def wait(self) -> int:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", [self.script, *self.flags])
                __import__(self.script.removesuffix(".py")).main()
            return 0

        def kill(self) -> None: ...

    monkeypatch.setattr(subprocess, "Popen", Call)


def test_the_whole_ablation_writes_its_tables_and_plots(in_process, data_dir: Path, tmp_path: Path, monkeypatch):
    small, prior = commands.SMALL, "--prior_hidden_dim 16 --prior_layers 1"
    recipe = {
        "autoencoder": small["autoencoder"],
        "back_translation": f"{commands.TRAINING} --hidden_dim 32 --num_heads 4",
        "predictor": f"{small['predictor']} {commands.SCRATCH}".replace("--latent_dim 8", ""),
        "flow": small["flow"].replace("--latent_dim 8", "").replace(prior, ""),
        "prior": f"--use_ssm_prior {prior}",
        "student": small["student"],
        "evaluation": "--num_workers 0",
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    out = tmp_path / "out"
    argv = [
        "run_ablation.py",
        "--data_dir",
        data_dir,
        "--output_dir",
        out,
        "--recipe",
        tmp_path / "recipe.json",
        "--seeds",
        "0",
        "1",
        "--groups",
        "components",
    ]
    monkeypatch.setattr(sys, "argv", list(map(str, argv)))
    run_ablation.main()

    markdown = (out / "ablation.md").read_text()
    for label in ("reference", "Direction 1", WHOLE, "without the prior", "without sync guidance", "in pose space"):
        assert f"| {label}" in markdown
    with open(out / "ablation.csv") as file:
        rows = {(row["model"], row["figure"]): row for row in csv.DictReader(file)}
    each = [
        json.loads((out / f"evaluation_flow_50_steps_seed{seed}" / "metrics_test.json").read_text()) for seed in (0, 1)
    ]
    dtw = [report["model"]["dtw"] for report in each]
    whole = rows[WHOLE, "dtw"]
    assert float(whole["mean"]) == pytest.approx(np.mean(dtw))
    assert float(whole["std_over_seeds"]) == pytest.approx(np.std(dtw, ddof=1))
    assert whole["low"] == whole["high"] == ""  # two clips show no interval
    assert float(whole["minus_whole"]) == 0
    assert float(rows["reference", "dtw"]["mean"]) == 0
    assert float(rows["without the prior", "dtw"]["minus_whole"]) == pytest.approx(
        float(rows["without the prior", "dtw"]["mean"]) - np.mean(dtw)
    )
    assert float(rows[WHOLE, "seconds_a_clip"]["mean"]) > 0
    assert r"\begin{tabular}" in (out / "ablation.tex").read_text()
    assert (out / "training_curves.png").stat().st_size > 10_000
    record = json.loads((out / "flow_seed0" / "part.json").read_text())
    assert is_done(out / "flow_seed0", record["key"])
