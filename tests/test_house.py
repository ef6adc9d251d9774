"""The rooms of the house: imports go from a higher floor to a lower one, and never in a circle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up. A file may import what lies below it and its own room; rooms of one floor know nothing of each
# other. A file at the root that is named nowhere is a script.
FLOORS = (
    {"runtime"},
    {"poses"},
    {"models", "importers"},
    {"checkpoint_checks", "dataset"},
    {"text_encoders"},
    {"checkpoints"},
    {"generation", "generation_arguments"},
    {"training", "evaluation", "signing"},
    {"ablation", "app"},
    {"scripts"},
    {"benchmarks"},
    {"tests"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")} - FLOOR_OF.keys()


def room_of(module: str) -> str:
    top = module.partition(".")[0]
    return "scripts" if top in SCRIPTS else top


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_of(path): path
    for path in sorted(ROOT.rglob("*.py"))
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts) and room_of(module_of(path)) in FLOOR_OF
}


def imported(module: str) -> set[str]:
    """The project's modules that a module imports, at its top or within a function; a name of one is that module."""
    found = set()
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import; write the whole name"
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (within & SOURCES.keys()) or {node.module}
    return {name for name in found if name in SOURCES}


IMPORTS = {module: imported(module) for module in SOURCES}


def test_every_room_has_its_floor():
    assert {room_of(module) for module in SOURCES} == FLOOR_OF.keys()
    folders = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/*.py") if path.parent.name[0] != "."}
    assert folders <= FLOOR_OF.keys()


def test_no_import_goes_up_or_to_a_neighbour():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if room_of(module) != room_of(other) and FLOOR_OF[room_of(module)] <= FLOOR_OF[room_of(other)]
    ]
    assert not wrong


def test_no_import_goes_in_a_circle():
    list(TopologicalSorter(IMPORTS).static_order())  # a CycleError names the circle


@pytest.mark.parametrize(
    "script", ["visualize", "data_preparation", "compare_metrics", "extract_features", "import_data"]
)
def test_what_computes_nothing_imports_no_torch(script: str):
    program = f"import sys, {script}; sys.exit(bool({{'torch', 'accelerate'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_scripts_import_no_scripts():
    scripts = {module for module in SOURCES if room_of(module) == "scripts"}
    edges = {f"{module} imports {other}" for module in scripts for other in IMPORTS[module] & scripts}
    assert not edges
