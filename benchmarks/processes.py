"""Every trainer by one process and by two at the same global batch: how far apart their losses are.

    python benchmarks/processes.py --write

Small networks on joined letters, with dropout, on a CPU (gloo). The last batch of train and of dev holds one clip, so
that the second process has none of it. The difference is the largest of all losses of all epochs, of train, dev and
test, relative to the loss. Then runs are stopped at a random moment, and another number of processes resumes.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import common
import torch

import demo_data
from importers import spelling
from runtime.lifetime import GO_ON

TRAIN = "--batch_size 8 --learning_rate 1e-3 --num_workers 0 --warmup_steps 2 --max_seq_len 40"
NET = "--latent_dim 8 --hidden_dim 32 --num_heads 4 --num_layers 2 --dropout 0.2"
SCRATCH = "--text_encoder scratch --scratch_dim 32 --scratch_layers 1"
TRAINERS = {
    "autoencoder": "train_stage1_autoencoder.py --latent_dim 8 --hidden_dim 32 --num_heads 4 --encoder_layers 1 "
    "--coarse_layers 1 --medium_layers 1 --fine_layers 1 --temporal_stride 2 --dropout 0.2",
    "predictor": f"train_stage2_predictor.py --autoencoder_checkpoint A {NET} {SCRATCH}",
    "prior": "train_stage2_prior.py --autoencoder_checkpoint A --hidden_dim 16 --num_layers 1",
    "flow": f"train_stage2_latent_flow.py --autoencoder_checkpoint A {NET} {SCRATCH} --use_ssm_prior "
    "--use_sync_guidance --prior_hidden_dim 16 --prior_layers 1 --num_inference_steps 6",
    "student": "train_stage3_distillation.py --autoencoder_checkpoint A --teacher_checkpoint F --num_teacher_steps 6 "
    "--trajectories_per_clip 2",
    "back-translator": "train_pose_to_text.py --hidden_dim 32 --num_heads 4 --dropout 0.2",
}
CLIPS = {"train": 41, "dev": 9, "test": 5}  # batches of 8: the last of train and of dev has one clip
EPOCHS, TEACHERS_EPOCHS, LONG = 3, 20, 12


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="decides where runs are cut")
    parser.add_argument("--accumulation", nargs="+", type=int, default=[1, 2], help="gradient accumulation steps")
    return parser.parse_args()


def make_data(folder: Path) -> Path:
    """Words of joined letters, prepared; made once."""
    if not (folder / "normalization_stats.npz").is_file():
        letters = spelling.read_alphabet(spelling.find_lexicon(), "ase")
        words = [word for word in (common.ROOT / "demo_words.txt").read_text().split() if word.isalpha()]
        chosen = iter(sorted(set(words), key=lambda word: (len(word), word)))
        counts = {**CLIPS, "train": CLIPS["train"] - len(letters)}  # each letter is a clip of train too
        words_of = {split: [next(chosen) for _ in range(count)] for split, count in counts.items()}
        demo_data.write_data(folder, "ase", letters, words_of, seed=0)
        command = [sys.executable, common.ROOT / "data_preparation.py", "--data_dir", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def start(commands: list[str], processes: int, file: Path) -> subprocess.Popen:
    """Commands in turn, all by so many processes; what they say goes into a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(commands))
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, common.ROOT / "benchmarks" / "in_turn.py", file]
    with open(file.with_suffix(".said"), "w") as said:
        return subprocess.Popen(command, env=environment, cwd=common.ROOT, stdout=said, stderr=said)


def run(commands: list[str], processes: int, file: Path) -> None:
    """The same to the end."""
    if start(commands, processes, file).wait():
        sys.exit(file.with_suffix(".said").read_text()[-6000:])


def stop_somewhere(command: str, processes: int, output_dir: Path, file: Path, rng: random.Random) -> str:
    """Begin a run and send its launcher a SIGTERM at a random moment of training; where that was."""
    shutil.rmtree(output_dir, ignore_errors=True)
    process, last = start([command], processes, file), output_dir / "last.pt"
    while not last.is_file():
        if process.poll() is not None:
            sys.exit(file.with_suffix(".said").read_text()[-6000:])
        time.sleep(0.1)
    time.sleep(2 * rng.random())
    process.terminate()
    code = process.wait()
    if code != (GO_ON if processes == 1 else 1):  # torchrun says 1 whatever its processes say
        sys.exit(f"exit code {code}\n{file.with_suffix('.said').read_text()[-6000:]}")
    content = torch.load(last, weights_only=True)
    return f"epoch {content['epoch'] + 1}, batch {content['training'].get('under_way', {}).get('batches', 0)}"


def losses(log: Path) -> dict[tuple, float]:
    """The losses in a log, by split, epoch and name."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        (split, "test" in record or record["epoch"], name): value
        for record in records
        for split in ("train", "dev", "test")
        for name, value in record.get(split, {}).items()
    }


def difference(one: Path, other: Path) -> float:
    """The largest relative difference of two runs' losses."""
    ours, theirs = losses(one / "log.jsonl"), losses(other / "log.jsonl")
    if ours.keys() != theirs.keys():
        raise ValueError(f"{one} and {other} do not have the same losses")
    return max(abs(value - theirs[key]) / max(abs(value), 1e-12) for key, value in ours.items())


def main() -> None:
    args = parse_arguments()
    folder = args.work_dir / "processes"
    data = make_data(folder / "data")
    models = {"A": folder / "models" / "autoencoder" / "last.pt", "F": folder / "models" / "flow" / "last.pt"}

    def command(name: str, runs: Path, epochs: int, more: str) -> str:
        words = [str(models.get(word, word)) for word in TRAINERS[name].split()]
        folders = f"--data_dir {data} --cache_dir {runs / 'cache'} --output_dir {runs / name}"
        return f"{' '.join(words)} {TRAIN} {folders} --num_epochs {epochs} {more}"

    if not models["F"].is_file():
        made = [command(name, folder / "models", TEACHERS_EPOCHS, "--overwrite") for name in ("autoencoder", "flow")]
        run(made, 1, folder / "models.txt")
    report: dict[str, dict] = {name: {} for name in TRAINERS}
    for accumulation in args.accumulation:
        sides = {count: folder / f"{count}-{accumulation}" for count in (1, 2)}
        for count, runs in sides.items():
            more = f"--gradient_accumulation_steps {accumulation} --overwrite"
            run([command(name, runs, EPOCHS, more) for name in TRAINERS], count, folder / "commands.txt")
        for name in TRAINERS:
            report[name][f"accumulation {accumulation}"] = difference(sides[1] / name, sides[2] / name)

    rng, cuts = random.Random(args.seed), []
    for name in ("autoencoder", "flow"):
        whole, more = folder / "whole", "--gradient_accumulation_steps 2"
        run([command(name, whole, LONG, f"{more} --overwrite")], 1, folder / "whole.txt")
        for before, after in ((1, 2), (2, 1)):
            runs = folder / f"cut-{before}"
            line = command(name, runs, LONG, f"{more} --resume_from auto")
            stopped = f"{line} --save_every_minutes 1e-9"
            where = stop_somewhere(stopped, before, runs / name, folder / "cut.txt", rng)
            run([line], after, folder / "resumed.txt")
            cuts.append([name, before, after, where, difference(whole / name, runs / name)])
    common.print_json({"difference": report, "cuts": cuts})
    if args.write:
        write(report, cuts)


def write(report: dict[str, dict], cuts: list[list]) -> None:
    """The section of benchmarks/README.md."""
    columns = list(next(iter(report.values())))
    rows = [[name, *(f"{values[column]:.1e}" for column in columns)] for name, values in report.items()]
    cut_rows = [[name, before, after, where, f"{apart:.1e}"] for name, before, after, where, apart in cuts]
    common.write_section(
        "Several processes",
        common.paragraph(
            "`benchmarks/processes.py --write` measured this section: small networks on joined letters, dropout 0.2, "
            "batches of 8 clips, of which the last has one; two processes on a CPU. Numbers are the largest relative "
            "difference of any loss (train, dev and test, three epochs) from that of one process."
        ),
        common.table(["trainer", *columns], rows),
        common.paragraph(
            "A SIGTERM at a random moment, after which another number of processes resumes; differences from a run "
            "in one go by one process:"
        ),
        common.table(["trainer", "processes before", "after", "stopped in", "difference"], cut_rows),
    )


if __name__ == "__main__":
    main()
