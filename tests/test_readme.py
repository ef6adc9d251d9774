"""README and docs: short, the same in both languages, and true of the files, flags, links and commands they name."""

import argparse
import functools
import importlib
import re
import shlex
from pathlib import Path

import commands
import pytest
from torch.distributed.run import get_args_parser

from ablation import plan

ROOT = commands.ROOT
READMES = [ROOT / "README.md", ROOT / "README.vi.md"]
PAGES = [*READMES, *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8"))
OF_OTHER_PROGRAMS = {
    *("--no-build-isolation", "--cpu", "--nproc_per_node", "--logdir"),
    *("--nnodes", "--rdzv_id", "--rdzv_backend", "--rdzv_endpoint", "--signals-to-handle"),  # torchrun
    *("--num_machines", "--machine_rank", "--main_process_ip", "--main_process_port", "--num_processes"),  # accelerate
    *("--kill-on-bad-exit", "--requeue", "--output"),  # SLURM
}
FULL_SIZE = (
    "data_preparation",
    "autoencoder",
    "predictor",
    "flow",
    "student",
    "inference",
    "inference_flow",
    "evaluate_predictor",
    "evaluate_flow",
)
NAMES_A_FILE = re.compile(r"[\w./-]*\w\.(py|json|md|txt|svg|toml)|[\w.-]+(/[\w.-]+)*/")
MADE_BY_A_RUN = ("runs/", "demo/", "data/", "DATA_DIR/", "OUTPUT_DIR/", "videos/", "texts.txt")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def lines(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").splitlines()


def code_lines(page: Path) -> list[str]:
    """The lines of the page's code blocks, continued lines joined, without comments."""
    text = "\n".join(line for line in lines(page) if line.startswith("    "))
    text = re.sub(r"\s*\\\n\s*", " ", text)
    return [code for line in text.splitlines() if (code := re.sub(r"(^|\s)#.*", "", line).strip())]


def page_commands(page: Path) -> list[str]:
    return [line for line in code_lines(page) if re.match(r"(\S+/)?(make|python|pip|torchrun|srun)|[A-Z_]+=", line)]


def quoted_words(page: Path) -> list[str]:
    """The words between backticks and in code blocks."""
    text = "\n".join(line for line in lines(page) if not line.startswith("    "))
    return " ".join([*re.findall(r"`([^`]+)`", text), *code_lines(page)]).split()


@functools.cache
def flags_of(script: str) -> set[str]:
    """The flags of a script, from its parser at the moment when it would read the command line."""

    class ParserIsReady(Exception):
        pass

    usage = []

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        usage.append(parser.format_usage())
        raise ParserIsReady

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(ParserIsReady):
            importlib.import_module(script.removesuffix(".py")).main()
    return {"--help", *re.findall(r"--[\w-]+", usage[0])}


@functools.cache
def flags_of_benchmarks() -> set[str]:
    """From their sources: they are run by their path, and some have the names of packages."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    return set(re.findall(r'"(--\w+)"', " ".join(sources)))


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    headings = [line.lstrip("#").strip() for line in lines(page) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\s-]", "", heading).lower().replace(" ", "-") for heading in headings}


# ---- form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_a_readme_has_at_most_200_lines(page: Path):
    assert len(lines(page)) <= 200


@each_page
def test_lines_outside_tables_have_at_most_120_characters(page: Path):
    assert [line for line in lines(page) if len(line) > 120 and not line.startswith("|")] == []


# ---- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_torchrun_takes_no_flag_of_a_script_for_its_own(script: str):
    flags = sorted(flags_of(script))
    found = get_args_parser().parse_args(["--nproc_per_node", "2", "--", script, *flags])
    assert (found.training_script, found.training_script_args) == (script, flags)


@each_page
def test_torchruns_own_flags_are_ended(page: Path):
    started = [shlex.split(line) for line in code_lines(page) if "torchrun" in line]
    assert [words for words in started if not words[words.index("--") + 1 :][0].endswith(".py")] == []


def test_both_readmes_hold_the_same_commands():
    english, vietnamese = map(page_commands, READMES)
    assert english == vietnamese


@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_readme_holds_the_full_size_commands_word_for_word(name: str):
    wanted = shlex.split(commands.COMMANDS[name])

    def same(word: str, other: str) -> bool:
        return word == other or re.fullmatch("[A-Z]", other) is not None  # a capital letter stands for a path

    held = [shlex.split(line)[1:] for line in page_commands(READMES[0]) if line.startswith("python ")]
    assert any(len(words) == len(wanted) and all(map(same, words, wanted)) for words in held)


@each_page
def test_every_command_names_a_script_and_flags_of_it(page: Path):
    for command in page_commands(page):
        script = next((word for word in command.split() if word.endswith(".py") and "/" not in word), None)
        if script is not None:
            given = set(re.findall(r"(?<!\S)--[\w-]+", command))
            assert given - flags_of(script) - OF_OTHER_PROGRAMS == set(), command


@each_page
def test_every_make_target_exists(page: Path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = " ".join([f"`{line}" for line in page_commands(page)] + lines(page))
    for target in re.findall(r"`make ([\w-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# ---- names -----------------------------------------------------------------------------------------------------------


@each_page
def test_every_flag_is_one_of_some_script(page: Path):
    named = {word for word in quoted_words(page) if re.fullmatch(r"--[\w-]+", word)}
    if named:
        assert named - set().union(*map(flags_of, SCRIPTS)) - flags_of_benchmarks() - OF_OTHER_PROGRAMS == set()


@each_page
def test_every_file_and_folder_exists(page: Path):
    named = {word for word in quoted_words(page) if NAMES_A_FILE.fullmatch(word) and not word.startswith(MADE_BY_A_RUN)}
    assert [name for name in sorted(named) if not (ROOT / name).exists() and not (page.parent / name).exists()] == []


@each_page
def test_a_name_in_a_file_stands_in_that_file(page: Path):
    for name, path in re.findall(r"`(\w+)` in `([\w/]+\.py)`", " ".join(lines(page))):
        assert name in (ROOT / path).read_text(encoding="utf-8")


@each_page
def test_every_link_within_the_project_leads_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", "\n".join(lines(page))):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


SHOWN = ("a real take", "Direction 1", "Direction 2, 50 steps", "Direction 2, student, 4 steps")
COLUMNS = ("recognition", "presence", "motion", "jerk", "DTW", "DTWp", "Fréchet")


def figures(page: Path) -> list[list[float]]:
    """The numbers, without intervals, of each row of a page's tables of results, in the order of COLUMNS."""
    rows, places = [], []
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if set(COLUMNS) <= set(cells):
            places = [cells.index(name) for name in COLUMNS]
        elif places and cells and (page.name != "results.md" or cells[0].startswith(SHOWN)) and "---" not in cells[0]:
            rows.append([float(cells[place].split()[0]) for place in places])
        elif not cells:
            places = []
    return rows


def test_the_readmes_show_the_figures_of_the_results():
    english, vietnamese = map(figures, READMES)
    assert len(english) == 16
    assert english == vietnamese
    results = figures(ROOT / "docs" / "results.md")  # five sets, of which the README leaves out the last, glosses
    assert len(results) == 20
    for ours, theirs in zip(english, results[:16], strict=True):
        assert ours == pytest.approx(theirs, abs=0.0051)


def test_the_recipe_of_the_docs_is_that_of_the_ablation():
    """docs/training.md, "A small data set", and ablation/small.json name the same flags for every stage."""
    code = code_lines(ROOT / "docs" / "training.md")
    variables = dict(re.match(r'([SAT])="(.*)"', line).groups() for line in code if re.match(r'[SAT]="', line))
    recipe = plan.read_recipe(ROOT / "ablation" / "small.json")
    recipe["flow"] += ["--use_sync_guidance", *recipe["prior"]]
    own = ("--data_dir", "--output_dir", "--autoencoder_checkpoint", "--teacher_checkpoint")
    for stage, script in (
        ("autoencoder", "train_stage1_autoencoder.py"),
        ("predictor", "train_stage2_predictor.py"),
        ("flow", "train_stage2_latent_flow.py"),
        ("student", "train_stage3_distillation.py"),
    ):
        (line,) = (line for line in code if line.startswith(f"python {script} $S"))
        words = shlex.split(re.sub(r"\$([SAT])", lambda name: variables[name[1]], line))[2:]
        assert without(words, own) == without(recipe[stage], own), stage


def without(words: list[str], flags: tuple[str, ...]) -> dict[str, list[str]]:
    """The values of each flag, but for those of `flags`."""
    values: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            latest = values.setdefault(word, [])
        else:
            latest.append(word)
    return {flag: value for flag, value in values.items() if flag not in flags}
