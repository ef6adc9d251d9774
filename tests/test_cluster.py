"""The job scripts of docs/cluster.md: they start what they say, and a job that was signalled goes on when it is called
again. Stand-ins for SLURM's commands run them, since there is no SLURM here."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import pytest

PAGE = commands.ROOT / "docs" / "cluster.md"
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
pids=()
for ((i = 0; i < SLURM_NTASKS; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done
echo "${pids[@]}" > tasks
most=0
for pid in "${pids[@]}"; do wait "$pid"; code=$?; ((code > most)) && most=$code; done
exit $most
"""
SCONTROL = """#!/bin/bash
echo "$*" >> scontrol.log
if [ "$1" = show ]; then printf 'node1\\nnode2\\n'; fi
"""
SAYS = '{{ echo "$RANK/$WORLD_SIZE $LOCAL_RANK $MASTER_ADDR $MASTER_PORT"; echo "$*"; }} > said$SLURM_PROCID; exit {}\n'


def scripts() -> list[str]:
    """The page's blocks of code that are job scripts."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    blocks = ["\n".join(line[4:] for line in block.strip("\n").splitlines()) + "\n" for block in blocks]
    return [block for block in blocks if block.startswith("#!/bin/bash\n")]


ONE_JOB, TWO_MACHINES, ARRAY = scripts()


@pytest.fixture
def job(tmp_path: Path):
    """Start a job script in tmp_path, where `python` (a shell's line) stands for .venv/bin/python."""

    def start(script: str, python: str, tasks: int = 1) -> subprocess.Popen:
        programs = {"bin/srun": SRUN, "bin/scontrol": SCONTROL}
        programs |= {f"{venv}/bin/python": f"#!/bin/bash\n{python}" for venv in (".venv", ".venv-video")}
        for name, content in {**programs, "job.sh": script}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(0o755)
        slurm = {"JOB_ID": "4711", "NTASKS": tasks, "JOB_NODELIST": "node[1-2]", "CPUS_PER_TASK": 8}
        slurm |= {"ARRAY_TASK_ID": 3, "ARRAY_TASK_COUNT": 16}
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        environment |= {f"SLURM_{name}": str(value) for name, value in slurm.items()}
        return subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    return start


def requeued(folder: Path) -> bool:
    log = folder / "scontrol.log"
    return log.is_file() and "requeue 4711\n" in log.read_text()


@pytest.mark.parametrize("script", [ONE_JOB, TWO_MACHINES, ARRAY], ids=["one", "two machines", "array"])
def test_bash_reads_it(script: str):
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(("code", "again"), [(0, False), (75, True), (2, False), (143, False)])
def test_a_job_is_queued_again_upon_75_alone(code: int, again: bool, job, tmp_path: Path):
    assert job(ONE_JOB, SAYS.format(code)).wait(20) == code
    assert requeued(tmp_path) == again


def test_every_task_knows_its_place(job, tmp_path: Path):
    assert job(TWO_MACHINES, SAYS.format("$((75 * SLURM_PROCID))"), tasks=2).wait(20) == 75
    assert requeued(tmp_path)
    said = [(tmp_path / f"said{rank}").read_text().splitlines() for rank in range(2)]
    assert [lines[0] for lines in said] == ["0/2 0 node1 24711", "1/2 1 node1 24711"]
    assert said[0][1] == said[1][1]
    assert said[0][1].startswith("train_stage2_latent_flow.py --data_dir")


def test_an_array_divides_the_clips(job, tmp_path: Path):
    assert job(ARRAY, SAYS.format(0)).wait(20) == 0
    words = shlex.split((tmp_path / "said0").read_text().splitlines()[1])
    assert words[0] == "extract_features.py"
    assert words[-4:] == ["--num_workers", "8", "--shard", "3/16"]


def test_a_job_that_was_signalled_goes_on_to_its_end(job, trained, data_dir, tmp_path: Path):
    """The page's own script with a real training."""
    small = shlex.join([*commands.SMALL["flow"].split(), "--num_epochs", "30", "--cache_dir", str(tmp_path / "cache")])
    small += f" --data_dir {data_dir} --autoencoder_checkpoint {trained.autoencoder}"
    small += f" --output_dir {tmp_path / 'runs/flow'}"
    python = f'cd {commands.ROOT} && exec {sys.executable} "$@" {small}\n'
    first, log = job(ONE_JOB, python), tmp_path / "runs/flow/log.jsonl"
    end = time.monotonic() + 300
    while not (log.is_file() and log.read_text().count("\n") > 1):
        assert first.poll() is None, first.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(int((tmp_path / "tasks").read_text()), signal.SIGUSR1)
    assert first.wait(120) == 75
    assert first.stderr.read().splitlines()[-1].startswith("stopped by SIGUSR1; ")
    assert requeued(tmp_path)
    again = job(ONE_JOB, python)
    said = again.communicate(timeout=300)[1]
    assert again.returncode == 0, said
    epochs = [record["epoch"] for record in map(json.loads, log.read_text().splitlines()) if "train" in record]
    assert epochs == list(range(1, 31))
