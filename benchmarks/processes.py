"""Every trainer by one process and by two at the same global batch: how far apart their losses are.

    python benchmarks/processes.py --write

Small networks on joined letters, with dropout, on a CPU (gloo). The last batch of train and of dev holds one clip, so
that the second process has none of it. The difference is the largest of all losses of all epochs, of train, dev and
test, relative to the loss. A third run stops in its second epoch as one process and goes on as two, a fourth the other
way round.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import common

import demo_data

TRAIN = "--batch_size 8 --learning_rate 1e-3 --num_workers 0 --warmup_steps 2 --max_seq_len 40"
NET = "--latent_dim 8 --hidden_dim 32 --num_heads 4 --num_layers 2 --dropout 0.2"
SCRATCH = "--text_encoder scratch --scratch_dim 32 --scratch_layers 1"
TRAINERS = {
    "autoencoder": "train_stage1_autoencoder.py --latent_dim 8 --hidden_dim 32 --num_heads 4 --encoder_layers 1 "
    "--coarse_layers 1 --medium_layers 1 --fine_layers 1 --temporal_stride 2 --dropout 0.2",
    "predictor": f"train_stage2_predictor.py --autoencoder_checkpoint A {NET} {SCRATCH}",
    "flow": f"train_stage2_latent_flow.py --autoencoder_checkpoint A {NET} {SCRATCH} --use_ssm_prior "
    "--use_sync_guidance --prior_hidden_dim 16 --prior_layers 1 --num_inference_steps 6",
    "student": "train_stage3_distillation.py --autoencoder_checkpoint A --teacher_checkpoint F --num_teacher_steps 6 "
    "--trajectories_per_clip 2",
    "back-translator": "train_pose_to_text.py --hidden_dim 32 --num_heads 4 --dropout 0.2",
}
CLIPS = {"train": 41, "dev": 9, "test": 5}  # batches of 8: the last of train and of dev has one clip
EPOCHS, TEACHERS_EPOCHS = 3, 20


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    parser.add_argument("--accumulation", nargs="+", type=int, default=[1, 2], help="gradient accumulation steps")
    return parser.parse_args()


def make_data(folder: Path) -> Path:
    """Words of joined letters, prepared; made once."""
    if not (folder / "normalization_stats.npz").is_file():
        letters = demo_data.read_alphabet(demo_data.find_lexicon(), "ase")
        words = [word for word in (common.ROOT / "demo_words.txt").read_text().split() if word.isalpha()]
        chosen = iter(sorted(set(words), key=lambda word: (len(word), word)))
        counts = {**CLIPS, "train": CLIPS["train"] - len(letters)}  # each letter is a clip of train too
        words_of = {split: [next(chosen) for _ in range(count)] for split, count in counts.items()}
        demo_data.write_data(folder, "ase", letters, words_of, seed=0)
        command = [sys.executable, common.ROOT / "data_preparation.py", "--data_dir", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def run(commands: list[str], processes: int, file: Path) -> None:
    """Commands in turn, all by so many processes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(commands))
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, common.ROOT / "benchmarks" / "in_turn.py", file]
    done = subprocess.run(command, env=environment, cwd=common.ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}")


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
    common.print_json(report)


if __name__ == "__main__":
    main()
