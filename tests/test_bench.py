"""One page of all benchmarks: it is made of their JSON, and every benchmark that make bench runs stands on it."""

import ast
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import commands
import pytest
from test_generation import make_generator

from checkpoints import FLOW, STUDENT

FOLDER = commands.ROOT / "benchmarks"
FIGURES = {  # what each benchmark prints, as far as the page takes it
    "sampling": {
        "one_clip": {
            "milliseconds": {
                f"{name}_{kind}": {"plain": 120.0, "packed": 100.0, "int8": 80.0}[kind]
                for name in ("direction_1", "student_4")
                for kind in ("plain", "packed", "int8")
            }
        },
        **{
            kind: {
                "latency": {
                    "student_4": {"sampling": 0.08, "total": total},
                    "flow_50": {"sampling": 2.0, "total": 2.1},
                },
                "batches": {"clips": 256, "clips_per_second": rate, "one_at_a_time": 5.0},
                "compiled": {"student_4": {"clip_ms": [145.0, 134.0]}},
            }
            for kind, total, rate in (("fp32", 0.14, 7.5), ("bf16", 0.1, 15.0))
        },
    },
    "guidance": {
        "guided": {"256": {"one clip": {"prior": 2.0, "null_text": 3.5}}},
        "over_frames": {"500": 1.5, "2000": 9.0},
    },
    "precision": {
        "clips": 8,
        "rows": [
            ["training step, flow", 128, "0.200", "0.300", 0.67],
            ["training step, flow", 512, "4.000", "2.500", 1.6],
        ],
    },
    "prior": {
        "mixer_seconds": [{"ours": 1.0, "theirs": 67.0}, {"ours": 0.5, "theirs": 9.5}],
        "prior_seconds": {"mamba": 2.6, "simple": 1.0},
    },
    "growth": {"sampling": {"120": 0.75, "480": 3.3}, "judging": {"120": 0.56}},
    "training": {"torch_threads": 2, "onednn": True, "stride_4": {"clips_per_second": {"ours": 32.71, "plain": 9.21}}},
    "processes": {
        "difference": {"flow": {"accumulation 1": 1e-7, "accumulation 2": 2e-7}},
        "cuts": [["flow", 1, 2, "epoch 3, batch 4", 3e-6], ["flow", 2, 1, "epoch 9, batch 0", 1e-7]],
    },
    "data": {
        "preparation": {
            "1000": {"clips_per_second": 241, "peak_gb": 0.3, "plain": {"clips_per_second": 176, "peak_gb": 0.9}}
        },
        "loaders": {"latents": {"training_clips_per_second": 8.5, "workers_0": {"clips_per_second": 16579}}},
    },
    "evaluation": {"clips": 500, "seconds": 387.0, "plain_seconds": 35439},
    "gaussian": [{"texts": 2, "prior": "mamba", "euler": {"covariance_error": 4.0}, "ab2": {"covariance_error": 2.0}}],
    "full_size": {
        **{
            name: {"seconds_a_step": [14.8, 16.0], "first": {"peak_gb": 5.6}}
            for name in ("autoencoder", "predictor", "flow", "student")
        },
        "inference": {"text": {"seconds": 5.5}, "text_file_of_256": {"seconds": 28.5}},
        "latency": {"direction_1": {"total": 0.13}},
    },
}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch):
    """benchmarks/report.py as it is when it is run by its path; what it brings along is forgotten afterwards."""
    before = {*sys.modules}
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("report")
    for name in {*sys.modules} - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(FOLDER)):
            del sys.modules[name]


def write_figures(folder: Path) -> Path:
    for name, figures in FIGURES.items():
        lines = map(json.dumps, figures) if isinstance(figures, list) else [json.dumps(figures, indent=2)]
        (folder / f"{name}.json").write_text("\n".join(lines) + "\n")
    return folder


def run(report, monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *flags])
    report.errors.run(report.main)


def test_every_benchmark_of_the_makefile_has_rows(report, tmp_path: Path):
    makefile = (commands.ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.search(r"^BENCHMARKS := (.+)$", makefile, re.MULTILINE)[1].split()
    assert named == list(report.BENCHMARKS) == list(report.TITLES)
    assert report.QUICK.keys() == FIGURES.keys() == set(named)
    rows = report.rows_of(named, write_figures(tmp_path))
    assert all(rows.values())
    assert [name for name in named if not (FOLDER / f"{name}.py").is_file()] == []


def test_quick_flags_are_flags_of_the_benchmarks(report):
    for name, flags in report.QUICK.items():
        source = "".join((FOLDER / f"{file}.py").read_text(encoding="utf-8") for file in (name, "common"))
        assert [flag for flag in re.findall(r"--\w+", flags) if f'"{flag}"' not in source] == []


def imported_names(tree: ast.Module) -> dict[str, object]:
    """What a module takes from others, by its name there."""
    names = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            module = importlib.import_module(node.module)
            whole = getattr(module, alias.name, None) or importlib.import_module(f"{node.module}.{alias.name}")
            names[alias.asname or alias.name] = whole
    return names


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_calls_takes_what_it_gives(path: Path, report):
    """No test runs the benchmarks, which take minutes; a function that lost an argument would be noticed late."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = imported_names(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = names.get(call.func.id) if isinstance(call.func, ast.Name) else None
        spread = [*(a for a in call.args if isinstance(a, ast.Starred)), *(k for k in call.keywords if k.arg is None)]
        if inspect.isfunction(function) and not spread:
            inspect.signature(function).bind(*call.args, **{keyword.arg: None for keyword in call.keywords})


def test_operations_are_counted_without_sync_guidance(report, statistics):
    """The gradient of sync guidance can't be counted. The generator keeps it."""
    sampling = importlib.import_module("sampling")
    flow, student = (make_generator(kind, "simple", 1, statistics) for kind in (FLOW, STUDENT))
    for generator in (flow, student):
        counted = sampling.without_sync(generator)
        assert sampling.count_flops(lambda counted=counted: counted.generate(["a"], [0], [20])) > 0
    assert flow.sampling.use_sync_guidance


def test_the_page_is_made_of_the_json(report, tmp_path: Path, monkeypatch):
    run(report, monkeypatch, "--from_json", "--output_dir", str(write_figures(tmp_path)))
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert page.startswith("# Benchmarks\n\nMeasured on ")
    assert report.machine() in " ".join(page.split())
    assert (
        "| training the flow, stride 4 | clips/s | a plain loop | 32.7 | 9.21 | 3.55 |" in page
    )  # a rate: more is better
    assert "| evaluating 500 clips, every metric | s | a plain loop (estimated) | 387 | 35439 | 91.6 |" in page
    assert "| sampling 4 clips of 120 frames, student | s | – | 0.75 | – | – |" in page
    assert "| signing a file of 256 texts | s | a call for each text | 28.5 | 1408 | 49.4 |" in page
    assert "| training step, flow, bf16, width 512 | CPU s | fp32 | 2.5 | 4 | 1.6 |" in page
    assert "width 128" not in page
    assert "| loss of two processes against one, flow | relative difference | – | 2e-07 | – | – |" in page
    for name, title in report.TITLES.items():
        assert f"**{title}** (`benchmarks/{name}.py`)" in page


def test_some_benchmarks_alone_and_one_that_was_not_run(report, tmp_path: Path, monkeypatch, capsys):
    folder = write_figures(tmp_path)
    run(report, monkeypatch, "--from_json", "--output_dir", str(folder), "--benchmarks", "data")
    assert "Evaluation" not in (folder / "bench.md").read_text()
    (folder / "prior.json").unlink()
    said = commands.one_sentence(capsys, lambda: run(report, monkeypatch, "--from_json", "--output_dir", str(folder)))
    assert f"{folder}/prior.json: no such file; run the benchmark" in said


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("growth", '{"sampling": {"120"', "JSONDecodeError"),
        ("growth", "", "TypeError"),
        ("growth", '{"judging": {}}', "KeyError: 'sampling'"),
        ("growth", '{"sampling": {"120": "a", "480": 1}, "judging": {"120": 1}}', "TypeError"),
        ("growth", "[1]", "TypeError"),
        ("full_size", json.dumps(FIGURES["full_size"] | {"inference": {}}), "RuntimeError"),
        ("training", "{}", "has no figures of benchmarks/training.py"),
    ],
)
def test_json_of_another_program_is_one_sentence(name, content, why, report, tmp_path: Path, monkeypatch, capsys):
    (tmp_path / f"{name}.json").write_text(content)
    words = ("--from_json", "--output_dir", str(tmp_path), "--benchmarks", name)
    said = commands.one_sentence(capsys, lambda: run(report, monkeypatch, *words))
    assert f"{tmp_path}/{name}.json: " in said
    assert why in said
    assert said.endswith("run it again, without --from_json")
    assert not (tmp_path / "bench.md").exists()


def test_a_benchmark_that_fails_is_named(report, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    flags = ("--quick", "--output_dir", str(tmp_path), "--benchmarks", "data")
    said = commands.refusal(capsys, lambda: run(report, monkeypatch, *flags))
    assert "error: benchmarks/data.py: ended with exit code 2; run it alone" in said
    assert not (tmp_path / "data.json").exists()
