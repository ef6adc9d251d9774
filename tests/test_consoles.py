"""No console ends a script: one that lacks letters (cp1252, latin-1, ASCII) shows \\uXXXX, one may stop to read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))

HELP_OF_ALL = """
import runpy, sys
for script in sys.argv[1:]:
    sys.stdout.reconfigure(errors="strict")  # as each finds its console
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, script
"""


def run(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, timeout=150, check=False)


def run_main(body: str, **environment: str) -> subprocess.CompletedProcess:
    """A script whose main is `body`, with `path` that of a file in Greek letters."""
    setup = "from runtime import errors\nfrom pathlib import Path\npath = Path('\\u03b1\\u03b2.npy')\n"
    return run(f"{setup}def main():\n    {body}\nerrors.run(main)", **environment)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_every_script_shows_its_help(encoding):
    assert "evaluate.py" in SCRIPTS
    done = run(HELP_OF_ALL, *SCRIPTS, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode(encoding).count("usage: ") >= len(SCRIPTS)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_the_last_line_after_the_work_and_an_error_name_a_file_in_other_letters(encoding):
    done = run_main("print(f'wrote {path}')", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"wrote", rb"\u03b1\u03b2.npy"], b"")
    done = run_main("raise errors.UserError(f'{path}: no such file')", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr.strip()) == (2, rb"error: \u03b1\u03b2.npy: no such file")


def test_what_turns_around_or_hides_a_message_is_spelt_out():
    done = run_main(r"raise errors.UserError('a\u202eb\u200bc\x1b[2J\udcfc \u0645\u06cc\u200c\u062e\n  d')")
    said = done.stderr.decode("utf-8")
    assert said == "error: a\\u202eb\\u200bc\\x1b[2J\\udcfc \u0645\u06cc\u200c\u062e\n  d\n"
    done = run_main(r"from runtime.console import say; say('a', 'b\u202e')")
    assert done.stdout.decode("utf-8") == "a b\\u202e\n"


def test_the_letters_that_a_console_has_stay_as_they_are():
    done = run_main("print('Grüße, 你好')", PYTHONIOENCODING="cp1252")
    assert done.stdout.decode("cp1252").strip() == "Grüße, \\u4f60\\u597d"
    done = run_main("print('Grüße, 你好')", PYTHONIOENCODING="utf-8")
    assert done.stdout.decode("utf-8").strip() == "Grüße, 你好"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode whatever the locale is")
def test_a_system_whose_names_are_ascii_says_what_to_set(tmp_path: Path):
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = run_main(f"({str(tmp_path)!r} / path).write_text('')", **locale)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        rb"error: ascii has no '\u03b1\u03b2'; set PYTHONUTF8=1, or write names in ASCII"
    ]
    assert run_main(f"({str(tmp_path)!r} / path).write_text('')", LC_ALL="C").returncode == 0


def test_no_memory_without_a_reason_is_one_sentence():
    done = run_main("raise MemoryError")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.startswith(b"error: out of memory (MemoryError)")


@pytest.mark.parametrize("both", [False, True])
def test_a_script_whose_reader_goes_does_its_work(both: bool, tmp_path: Path):
    """As `| head -1` does, and a pager that is closed: what was computed must not be lost for a line on screen."""
    body = f"for i in range(20000): print(i, flush=i % 99 == 0)\n    Path({str(tmp_path / 'made')!r}).touch()"
    program = f"from runtime import errors\nfrom pathlib import Path\ndef main():\n    {body}\nerrors.run(main)"
    command = [sys.executable, "-c", program]
    other = subprocess.STDOUT if both else subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=other, text=True) as script:
        assert script.stdout.readline() == "0\n"
        script.stdout.close()
        assert both or script.stderr.read() == ""
    assert script.returncode == 0
    assert (tmp_path / "made").exists()
