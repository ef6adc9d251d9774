"""make torture, in short: real kills at random instants change nothing; and it says so where something is wrong."""

import subprocess
import sys

import commands
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it finds processes in /proc")
BROKEN = """import sys
sys.path.insert(0, "tests")
import runtime.files
runtime.files._sweep = lambda folder: None  # what dead processes left stays
import torture
sys.argv = ["torture.py", *sys.argv[1:]]
torture.main()
"""


def torture(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words], cwd=commands.ROOT, capture_output=True, text=True, timeout=600, check=False
    )


def test_kills_at_random_instants_change_nothing():
    done = torture("tests/torture.py", "--kills", "3", "--stages", "preparation", "autoencoder", "--cold", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("6 SIGKILLs, ")
    assert done.stdout.endswith("; 0 faults\n")


def test_what_a_kill_leaves_is_found():
    done = torture("-c", BROKEN, "--kills", "25", "--stages", "import", "--cold", "0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "import run" in done.stdout
    assert "left over: output/train/" in done.stdout
