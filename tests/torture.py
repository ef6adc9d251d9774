"""Kill every stage at random instants, again and again: the result must be that of a run that nothing disturbed.

    make torture                                                    # 100 SIGKILLs a stage
    python tests/torture.py --kills 10 --stages flow student        # a glance

One command is called, killed, and called again until it ends by itself; SIGTERM, SIGUSR1 and SIGINT are mixed in. Then
everything that it wrote is compared with what one undisturbed call wrote: weights, average, optimiser and random
states to the last bit, log.jsonl but for its times, caches and data byte for byte. Whatever else remains fails: a
temporary file, a process, a traceback, an exit code that is not the signal's. The table says what was killed and found;
the exit code is 1 where anything was wrong. Needs Linux.

Almost all calls are forks of this process, which has imported everything, and so takes a tenth of the time. The others
(--cold) start a new interpreter, as a user does.
"""

import argparse
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ |= {"OMP_NUM_THREADS": "1"}  # a fork has no threads of its parent's

import torch
from conftest import write_letters
from test_training import same
from tqdm import tqdm

from checkpoints import load_checkpoint
from importers import spelling
from poses.statistics import STATISTICS_FILE
from runtime import errors, files
from runtime.arguments import make_parser, natural_int, positive_int
from runtime.flags import RUN_CONFIG_FILE
from runtime.lifetime import GO_ON

TRAINING = "--resume_from auto --save_every_minutes 1e-9 --num_epochs 8 --batch_size 3 --learning_rate 1e-3"
TRAINING += " --warmup_steps 2 --max_seq_len 40 --gradient_accumulation_steps 2"
AUTOENCODER = "--latent_dim 8 --hidden_dim 16 --num_heads 2 --encoder_layers 1 --coarse_layers 1 --medium_layers 1"
AUTOENCODER += " --fine_layers 1 --temporal_stride 2 --dropout 0.1 --motion_kept 0.9"
NETWORK = "--hidden_dim 16 --num_heads 2 --num_layers 1 --text_encoder scratch --scratch_dim 16 --scratch_layers 1"
FLOW = f"{NETWORK} --use_ssm_prior --use_sync_guidance --prior_hidden_dim 8 --prior_layers 1 --num_inference_steps 6"
STAGES = {  # D data, C cache, O output, A autoencoder, F flow, I recordings
    "import": "import_data.py --input I --output_dir O --split train",
    "preparation": "data_preparation.py --data_dir D --cache_dir C",
    "autoencoder": f"train_stage1_autoencoder.py --data_dir D --cache_dir C --output_dir O {TRAINING} {AUTOENCODER}",
    "predictor": "train_stage2_predictor.py --data_dir D --cache_dir C --output_dir O --autoencoder_checkpoint A "
    f"{TRAINING} {NETWORK}",
    "prior": "train_stage2_prior.py --data_dir D --cache_dir C --output_dir O --autoencoder_checkpoint A "
    f"{TRAINING} --hidden_dim 8 --num_layers 1",
    "flow": "train_stage2_latent_flow.py --data_dir D --cache_dir C --output_dir O --autoencoder_checkpoint A "
    f"{TRAINING} {FLOW}",
    "student": "train_stage3_distillation.py --data_dir D --cache_dir C --output_dir O --autoencoder_checkpoint A "
    f"--teacher_checkpoint F {TRAINING} --num_teacher_steps 6 --trajectories_per_clip 1",
    "back-translator": f"train_pose_to_text.py --data_dir D --cache_dir C --output_dir O {TRAINING} --hidden_dim 16 "
    "--num_heads 2 --dropout 0.1",
}
PARENTS = {"predictor": ("A",), "prior": ("A",), "flow": ("A",), "student": ("A", "F")}
STAGE_OF = {"A": "autoencoder", "F": "flow"}
KINDS = {"back-translator": "pose_to_text"}
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SHARE_OF_SIGNALS = 0.2
# How a call may end by a signal: going on or stopped as a shell says it; before Python listens, by the signal itself.
ENDS = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {GO_ON, 128 + signal.SIGTERM, -signal.SIGTERM},
    signal.SIGUSR1: {GO_ON, -signal.SIGUSR1},
    signal.SIGINT: {GO_ON, 128 + signal.SIGINT, -signal.SIGINT, 1},  # 1: Python's own, while it imports
}
PATIENCE = 60  # seconds in which a call ends after a signal, and its processes after it
TIMES = ("seconds", "clips_per_second")  # of a log's line
OF_A_CALL = ("output_dir", "cache_dir", "num_workers")  # flags that differ from call to call


# ---- a call ----------------------------------------------------------------------------------------------------------


@dataclass
class Call:
    """A running call of a command: a process that leads a session, by which its children are found."""

    pid: int
    output: Path
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, words: list[str], output: Path, cold: bool) -> "Call":
        sys.stdout.flush()
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none may meet this script's own code in the child
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for stream in (1, 2):
                os.dup2(file, stream)
            os.chdir(ROOT)
            if cold:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
                os.execv(sys.executable, [sys.executable, *words])
            os._exit(_run_here(words))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(file)
        return cls(pid, output)

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> int | None:
        """The exit code, negative for a signal; None where the call still runs after so many seconds, or `until`."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if (left := end - time.monotonic()) <= 0 or until():
                return None
            time.sleep(min(0.002, left))

    def processes(self) -> list[int]:
        """What still runs of the call's session."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it has just ended
                continue
            if int(session) == self.pid and state != "Z":
                found.append(int(path.parent.name))
        return found

    def wait_for_processes(self) -> list[int]:
        """The same after they had some time to end; those that did not are ended here."""
        end = time.monotonic() + PATIENCE
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.005)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left

    def said(self) -> str:
        return self.output.read_text(errors="replace")


def _run_here(words: list[str]) -> int:
    """The exit code of a script, run in this process as Python runs it."""
    code, script = 0, importlib.import_module(words[0].removesuffix(".py"))
    sys.argv = words
    files._swept.clear()  # a new process has not looked into any folder

    def main() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        script.main()

    try:
        errors.run(main)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    return code or 0


# ---- what a stage writes ---------------------------------------------------------------------------------------------


class Stage:
    """A stage's command in a folder of its own, and what an undisturbed call of it left there."""

    def __init__(self, name: str, work: Path, letters: dict[str, Path]) -> None:
        self.name, self.folder, self.letters = name, work / name, dict(letters)
        self.is_trainer = "--resume_from" in STAGES[name]
        self.folder.mkdir()
        self.seconds = self.until_work = 0.0  # of the undisturbed call, and until it saved for the first time

    def words(self, run: str, more_workers: bool = False) -> list[str]:
        """The words of its command; a trainer's loader has no worker or one, another script one or two."""
        letters = {**self.letters, "O": self.folder / run / "output", "C": self.folder / run / "cache"}
        words = [str(letters.get(word, word)) for word in STAGES[self.name].split()]
        return [*words, "--num_workers", str((not self.is_trainer) + more_workers)]

    def run_undisturbed(self) -> None:
        self.begin()
        call = Call.start(self.words("whole"), self.folder / "whole.txt", cold=False)
        code = call.wait(10 * PATIENCE, until=lambda: self.saved("whole") != 0)
        self.until_work = time.monotonic() - call.started
        code = call.wait(10 * PATIENCE) if code is None else code
        self.seconds = time.monotonic() - call.started
        if code != 0:
            raise SystemExit(f"{self.name}: exit code {code} without any signal\n{call.said()}")
        self.statistics = self.statistics_written()

    def statistics_written(self) -> bytes:
        return (self.letters["D"] / STATISTICS_FILE).read_bytes()

    def begin(self) -> None:
        """Take away what the last run wrote outside its own folder."""
        if self.name == "preparation":
            (self.letters["D"] / STATISTICS_FILE).unlink(missing_ok=True)

    def saved(self, run: str) -> int:
        """When the run's last.pt was written; 0 where there is none."""
        last = self.folder / run / "output" / "last.pt"
        return last.stat().st_mtime_ns if last.exists() else 0

    def wait_for_an_instant(self, call: Call, run: str, draw: random.Random, start: float) -> tuple[int | None, float]:
        """Wait for an instant to kill at: one of the whole call, or of a trainer either before it saves for the first
        time, or soon after. The exit code of a call that ended before, and the seconds waited.

        start: seconds in which a new interpreter imports.
        """
        code = None
        if not self.is_trainer:
            code = call.wait(draw.uniform(0, start + 1.1 * self.seconds))
        elif draw.random() < 0.4:
            code = call.wait(draw.uniform(0, start + self.until_work))
        else:
            before = self.saved(run)
            code = call.wait(PATIENCE, until=lambda: self.saved(run) != before)
            code = call.wait(draw.uniform(0, 0.5 * self.until_work)) if code is None else code
        return code, time.monotonic() - call.started

    def differences(self, run: str) -> list[str]:
        """What a run left otherwise than the undisturbed one, by name."""
        ours, theirs = self.folder / run, self.folder / "whole"
        found, wanted, wrong = _files(ours), _files(theirs), []
        wrong += [f"left over: {path}" for path in sorted(found - wanted)]
        wrong += [f"missing: {path}" for path in sorted(wanted - found)]
        for path in sorted(found & wanted):
            if path.suffix == ".pt":
                kind = KINDS.get(self.name, self.name)
                equal = same(load_checkpoint(ours / path, kind), load_checkpoint(theirs / path, kind))
            elif path.name == "log.jsonl":
                equal = _log(ours / path) == _log(theirs / path)
            elif path.name == RUN_CONFIG_FILE:
                equal = _config(ours / path) == _config(theirs / path)
            else:
                equal = (ours / path).read_bytes() == (theirs / path).read_bytes()
            if not equal:
                wrong.append(f"not equal: {path}")
        if self.statistics_written() != self.statistics:
            wrong.append(f"not equal: {STATISTICS_FILE}")
        return wrong + [f"left over: {path}" for path in self.letters["D"].glob(".*")]

    def temporary_files(self, run: str) -> list[Path]:
        return [path for path in (self.folder / run).rglob(".*") if path.name != ".claim"]


def _files(folder: Path) -> set[Path]:
    """All that was written but TensorBoard's events, of which every call begins a file, and the listing of contents,
    which knows files that are older than seconds."""
    files = (path for path in folder.rglob("*") if path.is_file() and "tensorboard" not in path.parts)
    return {path.relative_to(folder) for path in files if not path.name.startswith("files-")}


def _log(path: Path) -> list[dict]:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


def _config(path: Path) -> dict:
    record = json.loads(path.read_text())
    return {**record, "flags": {name: value for name, value in record["flags"].items() if name not in OF_A_CALL}}


# ---- the torture -----------------------------------------------------------------------------------------------------


@dataclass
class Report:
    stage: str
    kills: int = 0
    signals: int = 0
    while_writing: int = 0  # kills that left a file half-written
    runs: int = 0
    equal: int = 0
    longest: tuple[float, str] = (0.0, "")  # seconds from a signal to the end of the call and its children; which
    cpu: float = 0.0
    wrong: list[str] = field(default_factory=list)


def torture(stage: Stage, kills: int, draw: random.Random, cold: float) -> Report:
    """Kill the stage so often. A run begins anew, in a new folder, where the last one has come to its end."""
    report, used = Report(stage.name), resource.getrusage(resource.RUSAGE_CHILDREN)
    while report.kills < kills or report.runs == 0:
        run = f"run{report.runs}"
        report.runs += 1
        stage.begin()
        found = list(_run_to_its_end(stage, run, kills, draw, cold, report)) or stage.differences(run)
        report.equal += not found
        report.wrong += [f"{stage.name} {run}: {what}" for what in found]
        if not found:
            shutil.rmtree(stage.folder / run)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    report.cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return report


def _run_to_its_end(
    stage: Stage, run: str, kills: int, draw: random.Random, cold: float, report: Report
) -> Iterator[str]:
    """Call, kill, and call again until the call ends by itself; what was wrong."""
    while True:
        is_cold = draw.random() < cold
        how = draw.choice(SIGNALS) if draw.random() < SHARE_OF_SIGNALS else signal.SIGKILL
        disturbed = report.kills < kills
        call = Call.start(stage.words(run, draw.random() < 0.5), stage.folder / f"{run}.txt", is_cold)
        if disturbed:
            code, after = stage.wait_for_an_instant(call, run, draw, START if is_cold else 0.0)
        elif (code := call.wait(10 * PATIENCE)) is None:
            os.kill(call.pid, signal.SIGKILL)
            yield f"does not come to its end:\n{call.said()}"
            return
        if code is None:
            os.kill(call.pid, how)
            signalled = time.monotonic()
            if how == signal.SIGKILL:
                report.kills += 1
            else:
                report.signals += 1
            code = call.wait(PATIENCE)
            if code is None:
                os.kill(call.pid, signal.SIGKILL)
                call.wait(PATIENCE)
                yield f"{how.name} after {after:.3f} s did not end it in {PATIENCE} s:\n{call.said()}"
                return
            allowed = ENDS[how] | {0}
            if how == signal.SIGKILL and stage.temporary_files(run):
                report.while_writing += 1
        else:
            signalled, allowed = time.monotonic(), {0}
        if left := call.wait_for_processes():
            yield f"left {len(left)} processes behind after {how.name}"
            return
        report.longest = max(report.longest, (time.monotonic() - signalled, how.name + " cold" * is_cold))
        by_python = is_cold and how == signal.SIGINT and code != GO_ON  # which was still importing
        may_say_all = by_python or code == -signal.SIGKILL  # a loader's worker, whose parent is gone
        if code not in allowed or ("Traceback" in call.said() and not may_say_all):
            yield f"ended with exit code {code} (signal: {how.name} after {after:.3f} s):\n{call.said()}"
            return
        if code == 0:
            return


START = 4.0  # seconds until a new interpreter has imported everything, about


def table(reports: list[Report]) -> str:
    """Of each stage; `writing`: SIGKILLs that left a file half-written, which the next call had to clear."""
    header = (
        f"{'stage':16}{'SIGKILLs':>9}{'writing':>9}{'signals':>9}{'runs':>6}{'equal':>6}{'CPU s':>7}  longest end\n"
    )
    rows = [
        f"{report.stage:16}{report.kills:9}{report.while_writing:9}{report.signals:9}{report.runs:6}{report.equal:6}"
        f"{report.cpu:7.0f}  {report.longest[0]:.2f} s ({report.longest[1]})"
        for report in reports
    ]
    return header + "\n".join(rows)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=positive_int, default=100, help="SIGKILLs a stage (default 100)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="which (default: all)")
    parser.add_argument("--seed", type=natural_int, default=0, help="decides signals and instants (default 0)")
    parser.add_argument(
        "--cold", type=float, default=0.03, help="share of the calls that start a new interpreter (default 0.03)"
    )
    parser.add_argument("--work_dir", type=Path, help="where it runs (default: a folder that is removed)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # its thread would not live on in a fork, but what it holds would
    for command in STAGES.values():
        importlib.import_module(command.split()[0].removesuffix(".py"))
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        work, reports = Path(folder), []
        letters = make_data(work)
        stages: dict[str, Stage] = {}

        def undisturbed(name: str) -> Stage:
            if name not in stages:
                for letter in PARENTS.get(name, ()):
                    parent = undisturbed(STAGE_OF[letter])
                    letters[letter] = parent.folder / "whole" / "output" / "best_model.pt"
                stages[name] = Stage(name, work, letters)
                stages[name].run_undisturbed()
            return stages[name]

        for name in args.stages:
            stage = undisturbed(name)
            print(
                f"{name}: {stage.seconds:.1f} s undisturbed, of which {stage.until_work:.1f} s until it saves",
                flush=True,
            )
            reports.append(torture(stage, args.kills, random.Random(f"{args.seed} {name}"), args.cold))
            print(*reports[-1].wrong, sep="\n", end="\n" if reports[-1].wrong else "", flush=True)
        print(table(reports))
        kills, wrong = sum(report.kills for report in reports), sum(len(report.wrong) for report in reports)
        print(f"{kills} SIGKILLs, {sum(r.signals for r in reports)} other signals; {wrong} faults")
    sys.exit(bool(wrong))


def make_data(work: Path) -> dict[str, Path]:
    """Prepared letters to train on, and recordings to import."""
    data, recordings = write_letters(work / "data"), work / "recordings"
    recordings.mkdir()
    for path in sorted((spelling.find_lexicon() / "ase").rglob("*.pose"))[:12]:
        shutil.copy(path, recordings)
    call = Call.start(["data_preparation.py", "--data_dir", str(data)], work / "data.txt", cold=False)
    if code := call.wait(10 * PATIENCE):
        raise SystemExit(f"data: exit code {code}\n{call.said()}")
    return {"D": data, "I": recordings}


if __name__ == "__main__":
    main()
