"""Preparing 1,000 and 7,000 clips of 120 frames against a plain loop, and how fast batches are read. Prints JSON.

    python benchmarks/data.py                   # makes 1.1 GB of clips in a temporary folder; 2 minutes
    python benchmarks/data.py --clips 200       # a glance

Preparation is data_preparation.py as a user runs it: every file checked, gaps filled, the pack and the statistics
written. The plain loop reads each clip with numpy and pickle, fills the gaps of each number by itself, writes it to a
file of its own, and takes mean and std of all frames at the end. Both run as processes of their own, one after the
other, and their memory is the peak of the process; `largest_difference` is between their means and standard deviations.

The loaders are read for one epoch in this process, over latents (with texts' embeddings) as stages 2 and 3 do and over
poses as stage 1 does; `times_training` is clips per second over what a training step at default sizes takes here.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generated import run_script, write_split

from dataset import LatentDataset, PoseDataset, make_loader
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.autoencoder_loss import AutoencoderLoss
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.whole_batch import Draws
from poses import layout
from poses.files import read_keypoints
from poses.pack import write_pack
from poses.presence import NUM_ARTICULATORS
from poses.splits import load_split
from poses.statistics import STATISTICS_FILE, Statistics
from runtime.arguments import make_parser

FRAMES, TOKENS, BATCH = 120, 22, 32


def plain_loop(data_dir: Path, output: Path) -> None:
    """What data_preparation.py does for train, as one writes it at first."""
    poses, weights = [], []
    output.mkdir(parents=True, exist_ok=True)
    for path in sorted((data_dir / "train" / "poses").glob("*.npz")):
        keypoints, seen, *_ = read_keypoints(path)
        with open(data_dir / "train" / "nmms" / f"{path.stem}.pkl", "rb") as file:
            nmm = pickle.load(file)
        nmm = np.concatenate([np.asarray(nmm[key]).reshape(len(keypoints), -1) for key in layout.NMM_FEATURES], axis=1)
        pose = layout.keypoints_to_frame(keypoints, nmm).astype(np.float32)
        weight = np.concatenate([np.repeat(seen, 2, axis=1), np.isfinite(nmm)], axis=1)
        frames = np.arange(len(pose))
        for column in range(pose.shape[1]):
            known = weight[:, column]
            if known.any() and not known.all():
                pose[:, column] = np.interp(frames, frames[known], pose[known, column])
        np.savez(output / path.name, pose=pose, weight=weight)
        poses.append(pose)
        weights.append(weight)
    values = np.ma.masked_array(np.concatenate(poses), ~np.concatenate(weights))
    np.savez(
        output / "statistics.npz", mean=values.mean(0, np.float64).filled(0), std=values.std(0, np.float64).filled(1)
    )


def prepare(work: Path, clips: int, num_workers: int) -> dict:
    data = work / str(clips)
    for split, number in (("train", clips), ("dev", 10), ("test", 10)):
        write_split(data, split, [FRAMES] * number, num_texts=max(1, number // 5))
    size = sum(path.stat().st_size for path in (data / "train").rglob("*.*"))
    plain = run_script("benchmarks/data.py", "--plain_loop", data, work / f"plain_{clips}")
    run = run_script("data_preparation.py", "--data_dir", data, "--num_workers", num_workers)
    statistics = Statistics.load(data / STATISTICS_FILE)
    with np.load(work / f"plain_{clips}" / "statistics.npz") as theirs:
        seen = theirs["std"] > 1e-6
        difference = max(np.abs(getattr(statistics, name) - theirs[name])[seen].max() for name in ("mean", "std"))
    return {
        "megabytes": round(size / 2**20),
        **run,
        "clips_per_second": round(clips / run["seconds"]),
        "plain": {**plain, "clips_per_second": round(clips / plain["seconds"])},
        "ratio": round(plain["seconds"] / run["seconds"], 2),
        "largest_difference": float(difference),
    }


def step_seconds(model: torch.nn.Module, loss: object) -> float:
    """Seconds of a training step on a batch, the second of two."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    for _ in range(2):
        started = time.perf_counter()
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - started


def training_clips_per_second(statistics: Statistics) -> dict[str, float]:
    """What a flow and an autoencoder of the default sizes consume, clips of 70 frames (the mean of 20 to 120)."""
    frames, draws = 70, Draws.of(list(map(str, range(BATCH))))
    mask = torch.ones(BATCH, frames, dtype=torch.bool)
    flow = LatentFlowMatcher(FlowConfig(prior_type="simple"))
    z, cond = torch.randn(BATCH, frames, 256), torch.randn(BATCH, TOKENS, 768)
    cond_mask = torch.ones(BATCH, TOKENS, dtype=torch.bool)
    autoencoder, pose = PoseAutoencoder(AutoencoderConfig(), statistics), torch.randn(BATCH, frames, layout.POSE_DIM)
    seen, present = (
        torch.ones_like(pose, dtype=torch.bool),
        torch.ones(BATCH, frames, NUM_ARTICULATORS, dtype=torch.bool),
    )
    clips = (pose, seen, present, mask)
    seconds = {
        "latents": step_seconds(flow, lambda: flow.loss(z, mask, cond, cond_mask, draws)["loss"]),
        "poses": step_seconds(autoencoder, lambda: AutoencoderLoss()(autoencoder, *clips, draws)["loss"]),
    }
    return {name: BATCH / value for name, value in seconds.items()}


def loaders(work: Path, clips: int, num_workers: int) -> dict:
    rng, train = np.random.default_rng(0), load_split(work / str(clips), "train")
    statistics = Statistics.load(work / str(clips) / STATISTICS_FILE)
    texts = sorted(set(train.texts))

    def latents() -> object:
        for clip_id, text in zip(train.ids, train.texts, strict=True):
            z = rng.normal(size=(FRAMES, 256)).astype(np.float32)
            yield clip_id, text, {"z": z, "energy": z[:, :2]}

    conditions = ((text, text, {"cond": rng.normal(size=(TOKENS, 768)).astype(np.float32)}) for text in texts)
    packs = write_pack(work / "latents", latents()), write_pack(work / "texts", conditions)
    datasets = {
        "latents": LatentDataset(*packs),
        "poses": PoseDataset(train, statistics, max_seq_len=FRAMES, long_clips="crop"),
    }
    consumed = training_clips_per_second(statistics)
    report = {}
    for name, dataset in datasets.items():
        report[name] = {"training_clips_per_second": round(consumed[name], 1)}
        for workers in (0, num_workers):
            started = time.perf_counter()
            count = sum(len(batch["id"]) for batch in make_loader(dataset, BATCH, shuffle=True, num_workers=workers))
            rate = count / (time.perf_counter() - started)
            report[name][f"workers_{workers}"] = {
                "clips_per_second": round(rate),
                "times_training": round(rate / consumed[name]),
            }
    return report


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--clips", type=int, nargs="*", default=[1000, 7000])
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--work_dir", type=Path, help="where the data is made (default: a folder that is removed)")
    parser.add_argument("--plain_loop", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plain_loop:
        plain_loop(*args.plain_loop)
        return
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        report: dict[str, object] = {"frames": FRAMES, "num_workers": args.num_workers}
        report["preparation"] = {clips: prepare(Path(folder), clips, args.num_workers) for clips in args.clips}
        report["loaders"] = loaders(Path(folder), args.clips[0], args.num_workers)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
