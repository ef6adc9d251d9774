"""--config and --quiet, which every script has: a run is called again by what it wrote, and says as little as asked."""

import importlib
import json
import sys
from pathlib import Path

import commands
import pytest
from commands import one_sentence, refusal
from test_training import same

from checkpoints import AUTOENCODER, FLOW, STUDENT, load_checkpoint
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.sampling_settings import SamplingSettings
from poses.statistics import STATISTICS_FILE
from runtime import console, errors

FLOW_SCRIPT, EVALUATE = "train_stage2_latent_flow.py", "evaluate.py"


def parse(script: str, *words: object, monkeypatch: pytest.MonkeyPatch):
    """The flags of a script as it reads them, with what ends it where it refuses them."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
    parsed = []
    module = importlib.import_module(script.removesuffix(".py"))
    errors.run(lambda: parsed.append(module.parse_arguments()))
    return parsed[0]


@pytest.fixture
def config(tmp_path: Path):
    """Write a file of flags for the flow's script; returns its path."""

    def write(flags: dict, script: str = FLOW_SCRIPT, **more: object) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"script": script, "flags": flags, **more}))
        return path

    return write


WHOLE = {"data_dir": "D", "output_dir": "O", "autoencoder_checkpoint": "A"}


# ---- what a run writes calls it again --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["autoencoder", "flow"])
def test_a_run_is_called_again_by_its_config_to_the_last_bit(name: str, data_dir, trained, tmp_path: Path):
    commands.call(name, "--dropout 0.2 --seed 3", D=data_dir, A=trained.autoencoder, O=tmp_path / "a")
    script = commands.COMMANDS[name].split()[0]
    commands.call_script(script, "--config", tmp_path / "a/config.json", "--output_dir", tmp_path / "b")
    for file in ("last.pt", "best_model.pt"):
        kind = {"autoencoder": AUTOENCODER, "flow": FLOW}[name]
        assert same(*(load_checkpoint(tmp_path / run / file, kind) for run in "ab"))
    first, second = (json.loads((tmp_path / run / "config.json").read_text()) for run in "ab")
    assert second == {**first, "flags": first["flags"] | {"output_dir": str(tmp_path / "b")}}


def test_the_config_has_what_was_typed_apart_from_the_defaults(trained, data_dir):
    content = json.loads(trained.flow.with_name("config.json").read_text())
    assert content["script"] == FLOW_SCRIPT
    assert content["flags"]["data_dir"] == str(data_dir)
    assert (content["flags"]["use_ssm_prior"], content["flags"]["num_epochs"]) == (True, 2)
    assert (content["defaults"]["seed"], content["defaults"]["vocab_size"]) == (0, 8000)
    assert content["versions"].keys() >= {"python", "torch"}
    kept = content["flags"].keys() | content["defaults"].keys()
    assert not kept & {"config", "quiet", "help", "overwrite", "override", "resume_from"}


def test_an_evaluation_is_called_again_by_its_config(trained, data_dir, tmp_path: Path):
    paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow}
    commands.call("evaluate_flow", "--oracle_length --no-use_sync_guidance --num_workers 0", O=tmp_path / "a", **paths)
    commands.call_script(EVALUATE, "--config", tmp_path / "a/config_test.json", "--output_dir", tmp_path / "b")
    reports = [json.loads((tmp_path / run / "metrics_test.json").read_text()) for run in "ab"]
    for report in reports:
        del report["model"]["latency"]
    assert reports[0] == reports[1]
    assert reports[1]["settings"]["sync_guidance"] is False


def test_a_stopped_run_goes_on_by_its_config_and_not_over_a_finished_one(trained, data_dir, tmp_path: Path, capsys):
    commands.call("autoencoder", "--num_epochs 2", D=data_dir, O=tmp_path / "a")
    words = ["train_stage1_autoencoder.py", "--config", tmp_path / "a/config.json"]
    assert "holds a run already" in one_sentence(capsys, lambda: commands.call_script(*words))
    commands.call_script(*words, "--resume_from", "auto", "--num_epochs", 4)
    assert load_checkpoint(tmp_path / "a/last.pt", AUTOENCODER)["epoch"] == 4
    kept = (tmp_path / "a/config.json").read_text()
    assert json.loads(kept)["flags"]["num_epochs"] == 4
    changed = [*words, "--resume_from", "auto", "--seed", 5]
    assert "the run was started with other settings (--seed is 5, was 0)" in one_sentence(
        capsys, lambda: commands.call_script(*changed)
    )
    assert (tmp_path / "a/config.json").read_text() == kept


def test_a_run_that_overwrote_another_does_not_do_so_again(data_dir, tmp_path: Path, capsys):
    for more in ("", "--overwrite"):
        commands.call("autoencoder", f"--num_epochs 1 {more}", D=data_dir, O=tmp_path / "a")
    words = ["train_stage1_autoencoder.py", "--config", tmp_path / "a/config.json"]
    assert "holds a run already" in one_sentence(capsys, lambda: commands.call_script(*words))


# ---- what stands in a file, and what on the command line -------------------------------------------------------------


def test_the_command_line_overrides_the_file(config, monkeypatch):
    path = config(WHOLE | {"num_epochs": 7, "dropout": 0.25, "use_ssm_prior": True}, defaults={"seed": 9})
    args = parse(FLOW_SCRIPT, "--config", path, "--num_epochs", 3, "--output_dir", "P", monkeypatch=monkeypatch)
    assert (args.num_epochs, args.output_dir, args.data_dir) == (3, "P", Path("D"))
    assert (args.dropout, args.use_ssm_prior, args.seed, args.batch_size) == (0.25, True, 9, 32)


def test_guidance_away_from_a_null_text_that_nothing_trains_is_refused(trained, data_dir, tmp_path: Path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path}
    flags = "--cfg_dropout 0 --guidance_from null_text"
    assert "training never dropped a text" in one_sentence(capsys, lambda: commands.call("flow", flags, **paths))
    commands.call("flow", f"{flags} --guidance_scale 1 --num_epochs 1", **paths)
    net = LatentFlowMatcher(FlowConfig(**load_checkpoint(tmp_path / "best_model.pt", FLOW)["config"]))
    with pytest.raises(ValueError, match="training never dropped a text"):
        net.resolve(SamplingSettings(guidance_scale=2.0))
    paths |= {"F": tmp_path / "best_model.pt", "O": tmp_path / "student"}
    said = one_sentence(capsys, lambda: commands.call("student", "--guidance_scale 3", **paths))
    assert "training never dropped a text" in said
    assert said.endswith("pass --guidance_scale 1")


def test_a_student_learns_the_guidance_that_its_flags_ask_for(trained, data_dir, tmp_path: Path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow, "O": tmp_path}
    said = one_sentence(capsys, lambda: commands.call("student", "--guidance_start 0.95", **paths))
    assert said.endswith("guidance_start 0.95: guidance by the text ends at 0.9; leave the flag out")
    said = one_sentence(capsys, lambda: commands.call("student", "--guidance_start 0.4 --guidance_scale 1", **paths))
    assert said.endswith("guidance_start 0.4: a guidance scale of 1 has no beginning; leave the flag out")
    commands.call("student", "--guidance_scale 3 --guidance_start 0.4 --num_epochs 1", **paths)
    config = load_checkpoint(tmp_path / "best_model.pt", STUDENT)["config"]
    assert (config["guidance_scale"], config["guidance_start"]) == (3.0, 0.4)


def test_flags_that_came_after_a_file_are_told(trained, tmp_path: Path, monkeypatch, capsys):
    """Their defaults may do what the run of then did not; what is typed is known, and a hand-written file is no run."""
    content = json.loads(trained.flow.with_name("config.json").read_text())
    path = tmp_path / "config.json"
    for name in ("guidance_start", "prior_checkpoint"):
        del content["defaults"][name]
    for words, said in (((), True), (("--guidance_start", "0"), False)):
        path.write_text(json.dumps(content))
        parse(FLOW_SCRIPT, "--config", path, *words, monkeypatch=monkeypatch)
        warning = f"warning: {path}: is of a version that lacked --guidance_start 0.2: today's defaults apply\n"
        assert capsys.readouterr().out == (warning if said else "")
    path.write_text(json.dumps({**content, "versions": {}}))
    parse(FLOW_SCRIPT, "--config", path, monkeypatch=monkeypatch)
    assert capsys.readouterr().out == ""


def test_a_default_of_the_file_does_not_count_as_typed(config, monkeypatch, capsys):
    """--scratch_dim needs --text_encoder scratch where it is given, and not where the file says that it was not."""
    args = parse(FLOW_SCRIPT, "--config", config(WHOLE, defaults={"scratch_dim": 77}), monkeypatch=monkeypatch)
    assert args.scratch_dim == 77
    path = config(WHOLE | {"scratch_dim": 77})
    said = one_sentence(capsys, lambda: parse(FLOW_SCRIPT, "--config", path, monkeypatch=monkeypatch))
    assert "--scratch_dim needs --text_encoder scratch" in said


def test_of_flags_that_exclude_each_other_the_typed_one_counts(config, monkeypatch):
    flags = {"data_dir": "D", "output_dir": "O", "autoencoder_checkpoint": "A", "predictor_checkpoint": "P"}
    path = config(flags, EVALUATE)
    args = parse(EVALUATE, "--config", path, "--flow_checkpoint", "F", monkeypatch=monkeypatch)
    assert (args.predictor_checkpoint, args.flow_checkpoint) == (None, Path("F"))


def test_values_of_every_form_are_read(config, monkeypatch):
    flags = {"data_dir": "D", "output_dir": "O", "autoencoder_checkpoint": "A", "flow_checkpoint": "F"}
    more = {"save_predictions": True, "format": "pose", "image_size": [640, 480], "use_sync_guidance": False}
    path = config(flags | more | {"shuffle_texts": False, "compile": True}, EVALUATE, defaults={"num_steps": None})
    args = parse(EVALUATE, "--config", path, monkeypatch=monkeypatch)
    assert (args.image_size, args.format, args.use_sync_guidance) == ([640, 480], "pose", False)
    assert (args.save_predictions, args.shuffle_texts, args.compiled, args.num_steps) == (True, False, True, None)


def test_what_has_no_flag_is_typed_beside_the_file(config, monkeypatch, capsys):
    compare = "compare_metrics.py"
    path = config({"split": "test", "row_b": "reference"}, compare)
    args = parse(compare, "A", "--config", path, "B", monkeypatch=monkeypatch)
    assert (args.a, args.b, args.split, args.row_b) == (Path("A"), Path("B"), "test", "reference")
    assert args.record["flags"] == {"split": "test", "row_b": "reference"}
    assert "a" not in args.record["defaults"]
    said = one_sentence(
        capsys, lambda: parse(compare, "A", "B", "--config", config({"a": "A"}, compare), monkeypatch=monkeypatch)
    )
    assert "compare_metrics.py has no flag --a; take it out" in said


def test_what_the_script_needs_may_stand_in_the_file_or_on_the_line_but_not_nowhere(config, monkeypatch, capsys):
    path = config({"data_dir": "D", "output_dir": "O"})
    parse(FLOW_SCRIPT, "--config", path, "--autoencoder_checkpoint", "A", monkeypatch=monkeypatch)
    said = refusal(capsys, lambda: parse(FLOW_SCRIPT, "--config", path, monkeypatch=monkeypatch))
    assert "the following arguments are required: --autoencoder_checkpoint" in said


BAD_FLAGS = {
    "an unknown flag": ({"depth": 3}, f"{FLOW_SCRIPT} has no flag --depth; take it out"),
    "a flag's beginning": ({"num_ep": 3}, f"{FLOW_SCRIPT} has no flag --num_ep; take it out"),
    "an attribute's name": ({"use_ssm_prior ": True}, "has no flag --use_ssm_prior ; take it out"),
    "a file in a file": ({"config": "x"}, "has no flag --config; take it out"),
    "a text for a number": ({"num_epochs": "7"}, '--num_epochs is "7", where a number is expected'),
    "words for a number": ({"num_epochs": "ten"}, "--num_epochs: ten is not a positive whole number; correct the file"),
    "a number for a text": ({"output_dir": 5}, "--output_dir is 5, where a text is expected"),
    "a fraction for a whole number": ({"num_epochs": 1.5}, "--num_epochs: 1.5 is not a positive whole number"),
    "NaN": ({"learning_rate": float("nan")}, "--learning_rate: nan is not a positive number"),
    "a number out of bounds": ({"seed": 10**20}, "--seed: 100000000000000000000 is too large"),
    "null": ({"num_epochs": None}, "--num_epochs is null, where a text or a number is expected"),
    "true for a number": ({"num_epochs": True}, "--num_epochs is true, where a text or a number is expected"),
    "a number for a switch": ({"use_ssm_prior": 1}, "--use_ssm_prior is 1, where true or false is expected"),
    "a list for one value": ({"num_epochs": [7]}, "--num_epochs is [7], where a single value is expected"),
    "a choice that is none": ({"mixed_precision": "int3"}, "--mixed_precision: invalid choice: 'int3'"),
    "an escape": ({"a\x1b[2Jb": 1}, r"has no flag --a\x1b[2Jb; take it out"),
}


@pytest.mark.parametrize("part", ["flags", "defaults"])
@pytest.mark.parametrize("item", ["--output=x.gif", "--skip_bad", "-h", "--", "-1e-30", "--clips=b"])
def test_an_item_of_a_list_is_no_flag(item: str, part: str, config, monkeypatch, capsys):
    flags = {"clips": ["a.npy", item]}
    path = config(flags, "visualize.py") if part == "flags" else config({}, "visualize.py", defaults=flags)
    said = one_sentence(capsys, lambda: parse("visualize.py", "--config", path, monkeypatch=monkeypatch))
    assert said == f"error: {path}: --clips holds '{item}', which looks like a flag; write ./ before a path"


@pytest.mark.parametrize(("script", "name"), [("visualize.py", "clips"), (EVALUATE, "data_dir"), (EVALUATE, "device")])
def test_no_value_of_a_file_holds_a_nul(script: str, name: str, config, monkeypatch, capsys):
    path = config({name: ["a\0b.npy"] if name == "clips" else "a\0b"}, script)
    said = one_sentence(capsys, lambda: parse(script, "--config", path, monkeypatch=monkeypatch))
    assert "where a text without NUL characters is expected" in said
    assert r"a\u0000b" in said


def test_a_list_has_as_many_items_as_its_flag_takes(config, monkeypatch, capsys):
    path = config({"image_size": [1, 2, 3]}, EVALUATE)
    said = one_sentence(capsys, lambda: parse(EVALUATE, "--config", path, monkeypatch=monkeypatch))
    assert said == f"error: {path}: --image_size is [1, 2, 3], where a list of 2 is expected"


@pytest.mark.parametrize("part", ["flags", "defaults"])
@pytest.mark.parametrize("case", BAD_FLAGS)
def test_a_flag_that_the_script_would_not_take_is_one_sentence(case: str, part: str, config, monkeypatch, capsys):
    flags, message = BAD_FLAGS[case]
    path = config(WHOLE | flags) if part == "flags" else config(WHOLE, defaults=flags)
    said = one_sentence(capsys, lambda: parse(FLOW_SCRIPT, "--config", path, monkeypatch=monkeypatch))
    assert said.startswith(f"error: {path}: ")
    assert message in said


BAD_FILES = {
    "nothing": ("", "not readable JSON"),
    "half a file": ('{"script": "tra', "not readable JSON"),
    "lists without end": ("[" * 100_000, "not readable JSON"),
    "a file of holes": (None, "where at most"),
    "a list": ("[]", f'not flags of a script, {{"script": "{FLOW_SCRIPT}", "flags": {{...}}}}'),
    "a checkpoint's": ('{"kind": "flow", "config": {}}', "not flags of a script"),
    "another script's": ('{"script": "evaluate.py", "flags": {}}', f"the flags of evaluate.py, not of {FLOW_SCRIPT}"),
    "an unknown key": (f'{{"script": "{FLOW_SCRIPT}", "flags": {{}}, "fags": 1}}', "the key 'fags' is unknown"),
    "a list of flags": (f'{{"script": "{FLOW_SCRIPT}", "flags": []}}', "its 'flags' are not values by name"),
    "a list of defaults": (f'{{"script": "{FLOW_SCRIPT}", "flags": {{}}, "defaults": []}}', "its 'defaults' are not"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_holds_no_flags_is_one_sentence(case: str, tmp_path: Path, monkeypatch, capsys):
    content, message = BAD_FILES[case]
    path = tmp_path / "config.json"
    path.write_text(content or "")
    if content is None:
        with open(path, "r+b") as file:
            file.truncate(2**36)
    said = one_sentence(capsys, lambda: parse(FLOW_SCRIPT, "--config", path, monkeypatch=monkeypatch))
    assert said.startswith(f"error: {path}: ")
    assert message in said
    gone = tmp_path / "gone.json"
    said = one_sentence(capsys, lambda: parse(FLOW_SCRIPT, "--config", gone, monkeypatch=monkeypatch))
    assert said.startswith(f"error: {gone}: no such file; a run writes one, config.json")


# ---- --quiet ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def loud_again():
    yield
    console.be_quiet(False)


def test_quiet_leaves_the_last_line(trained, data_dir, tmp_path: Path, capsys):
    def said(call, *args, **paths) -> list[str]:
        capsys.readouterr()
        call(*args, **paths)
        return capsys.readouterr().out.splitlines()

    loud = said(commands.call, "autoencoder", D=data_dir, O=tmp_path / "a")
    quiet = said(commands.call, "autoencoder", "--quiet", D=data_dir, O=tmp_path / "b")
    assert len(loud) == 7  # precision and threads, the warm-up, the model, two epochs, test, the result
    assert quiet == [loud[-1].replace(str(tmp_path / "a"), str(tmp_path / "b"))]
    paths = {"D": data_dir, "A": trained.autoencoder, "P": trained.predictor}
    quiet = said(commands.call, "evaluate_predictor", "--num_workers 0 --quiet", O=tmp_path / "e", **paths)
    assert all(line.startswith(("wrote ", "warning: ")) for line in quiet)  # its model has hardly learnt anything
    (tmp_path / "texts.txt").write_text("so\nlate\n")
    paths = {"T": tmp_path / "texts.txt", "A": trained.autoencoder, "P": trained.predictor}
    assert len(said(commands.call, "inference_texts", O=tmp_path / "x.npy", **paths)) == 3  # precision, two clips
    assert len(said(commands.call, "inference_texts", "--quiet", O=tmp_path / "x.npy", **paths)) == 1
    quiet = said(commands.call_script, "data_preparation.py", "--data_dir", data_dir, "--quiet")
    assert quiet[-1].startswith(f"wrote {data_dir / STATISTICS_FILE}")
    assert not any("train: 12 clips" in line or "geometry" in line for line in quiet)


def test_quiet_keeps_warnings_and_refusals(data_dir, tmp_path: Path, capsys):
    commands.call("autoencoder", "--quiet --text_encoder scratch", D=data_dir, O=tmp_path / "a")
    assert capsys.readouterr().out.startswith("note: the autoencoder reads no text; --text_encoder scratch")
    call = lambda: commands.call("autoencoder", "--quiet", D=data_dir, O=tmp_path / "a")  # noqa: E731
    assert "holds a run already" in one_sentence(capsys, call)


class Terminal:
    """A stream that says it is a terminal and keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_the_bar_of_an_epoch_shows_the_dev_loss_unless_quiet(quiet: bool, data_dir, tmp_path: Path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    commands.call("autoencoder", "--quiet" if quiet else "", D=data_dir, O=tmp_path)
    epochs = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    loss = epochs[0]["dev"]["loss"]
    assert (f"dev {loss:.4f}, best dev {loss:.4f} in epoch 1" in terminal.text) == (not quiet)
    assert bool(terminal.text) == (not quiet)
