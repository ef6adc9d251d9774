"""What a killed process leaves half-written is removed by the next one that writes there; a living one's is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ablation.parts import ROOT
from poses.pack import write_pack
from runtime import files
from runtime.files import temporary_beside, write_whole

WRITE = """import pathlib, sys, time, numpy
from poses.pack import write_pack
from runtime.files import write_whole
folder = pathlib.Path(sys.argv[1])

def items():
    yield "a", "", {"z": numpy.zeros((3, 2))}
    with write_whole(folder / "file") as file:
        file.write(b"half")
        print("half", flush=True)
        time.sleep(100)

write_pack(folder / "pack", items())
"""


@pytest.fixture
def writer(tmp_path: Path):
    """Another process that is half-way in a pack and in a file in tmp_path."""
    words = [sys.executable, "-c", WRITE, str(tmp_path)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "half\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch):
    """This process has not yet looked into any folder."""
    monkeypatch.setattr(files, "_swept", set())


def names(folder: Path) -> list[str]:
    return sorted(path.name.partition(".")[0] or path.name.split(".")[1] for path in folder.iterdir())


@pytest.mark.parametrize("by", ["pack", "file"])
def test_leftovers_of_a_killed_process_are_removed(by: str, writer, tmp_path: Path):
    assert names(tmp_path) == ["file", "pack"]
    writer.kill()
    writer.wait()
    if by == "pack":
        write_pack(tmp_path / "new", [("a", "", {"z": np.zeros((3, 2))})])
    else:
        with write_whole(tmp_path / "new") as file:
            file.write(b"whole")
    assert names(tmp_path) == ["new"]


def test_a_living_process_keeps_what_it_writes(writer, tmp_path: Path):
    with write_whole(tmp_path / "new") as file:
        file.write(b"whole")
    assert names(tmp_path) == ["file", "new", "pack"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not say so")
def test_a_killed_process_that_nobody_has_waited_for_counts_as_dead(writer, tmp_path: Path):
    """As in a container whose first process waits for no orphans, and for a moment anywhere."""
    writer.kill()
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
    with write_whole(tmp_path / "new") as file:
        file.write(b"whole")
    assert names(tmp_path) == ["new"]


def test_another_machines_leftovers_are_left_alone(writer, tmp_path: Path, monkeypatch):
    writer.kill()
    writer.wait()
    monkeypatch.setattr(files, "_machine", lambda: "0" * 8)
    with write_whole(tmp_path / "new") as file:
        file.write(b"whole")
    assert names(tmp_path) == ["file", "new", "pack"]


def test_a_long_name_fits_the_file_system(tmp_path: Path):
    assert len(os.fsencode(temporary_beside(tmp_path / ("ü" * 125)).name)) < 255
    with write_whole(tmp_path / ("ü" * 125)) as file:
        file.write(b"whole")


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_files_have_the_permissions_that_the_umask_allows(umask: int, mode: int, tmp_path: Path):
    before = os.umask(umask)
    try:
        with write_whole(tmp_path / "new") as file:
            under_way = os.fstat(file.fileno()).st_mode & 0o777
    finally:
        os.umask(before)
    assert under_way == (tmp_path / "new").stat().st_mode & 0o777 == mode


CHILD = """import sys, time
from runtime import errors
def main():
    print("at work", flush=True)
    time.sleep(100)
errors.run(main)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_ablations_parts_end_with_it(how: int, tmp_path: Path):
    (tmp_path / "train_word.py").write_text(CHILD)
    program = f"""import pathlib
from ablation import parts
from runtime import errors
parts.ROOT = pathlib.Path({str(tmp_path)!r})
both = [parts.Part(name, "train_word.py", ()) for name in "ab"]
errors.run(lambda: parts.run_parts(both, "data", parts.ROOT / "out", 2))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", program]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    logs = [tmp_path / "out" / name / "output.log" for name in "ab"]
    end = time.monotonic() + 60  # a busy machine needs long to import torch
    while not all(log.is_file() and "at work" in log.read_text() for log in logs):
        assert time.monotonic() < end
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    assert len(pids) == 2
    process.send_signal(how)
    _, said = process.communicate(timeout=10)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    assert said.count("\n") == (how != signal.SIGKILL)
    time.sleep(0.2)
    assert not [
        pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
