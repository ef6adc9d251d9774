"""evaluate.py on 500 clips of 120 frames, every metric but back-translation, against a plain loop. Prints JSON.

    python benchmarks/evaluation.py                 # 6 minutes on 2 cores
    python benchmarks/evaluation.py --clips 50      # a glance; the ratio grows with the number of clips

The plain loop is one process, clip after clip: DTW in pure Python, in recognition and diversity for every pair of clips
(the distances of a frame to all frames of the other clip by one numpy expression), the same functions for the other
metrics, every clip encoded for itself, and the moments of all latents for each draw of the Frechet interval. It would
take hours, so each of its parts is timed on a few clips, half of them before and half after evaluate.py, and multiplied
by how often evaluate.py needs it: `plain_seconds` is that sum, `ratio` what evaluate.py gains.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generated import ROOT, Signer, run_script, write_autoencoder, write_split

from checkpoints import load_autoencoder
from evaluate import read_references
from evaluation import evaluator, metrics, naturalness, recognition, sync
from evaluation.clips import ClipAndWeight, Reference
from evaluation.intervals import FRECHET_RESAMPLES
from poses import motion
from poses.splits import load_split

TAKES = 5  # clips of each text
TRAIN_CLIPS = 1000
ROWS = 6  # model, reference, reconstruction, mean_pose, random_clip, nearest_text


def make_data(work: Path, clips: int, frames: int) -> None:
    data = work / "data"
    for split, number in (("train", TRAIN_CLIPS), ("dev", 10), ("test", clips)):
        write_split(data, split, [frames] * number, num_texts=max(1, number // TAKES))
    run_script("data_preparation.py", "--data_dir", data)
    write_autoencoder(work / "autoencoder.pt", data)
    signer, rng, test = Signer(), np.random.default_rng(1), load_split(data, "test")
    (work / "predictions").mkdir(exist_ok=True)
    for clip_id, text in zip(test.ids, test.texts, strict=True):  # another take of each text stands for a model's
        np.save(work / "predictions" / f"{clip_id}.npy", signer.sign(text.replace(" ", ""), frames, rng).pose)


def plain_dtw(costs: np.ndarray) -> tuple[float, list[tuple[int, int]]]:
    """Cost of the cheapest path through costs [T,T'] and the path, in pure Python."""
    costs = costs.tolist()
    rows, columns = len(costs), len(costs[0])
    total = [[math.inf] * (columns + 1) for _ in range(rows + 1)]
    total[0][0] = 0.0
    for i in range(rows):
        above, here, line = total[i], total[i + 1], costs[i]
        for j in range(columns):
            here[j + 1] = line[j] + min(above[j], above[j + 1], here[j])
    i, j = rows, columns
    path = [(i - 1, j - 1)]
    while (i, j) != (1, 1):
        ways = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(ways, key=lambda cell: total[cell[0]][cell[1]])
        path.append((i - 1, j - 1))
    return total[rows][columns], path[::-1]


def plain_align(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What `metrics.align` gives."""
    return np.array(plain_dtw(np.stack([np.sqrt(((frame - b) ** 2).sum(-1)) for frame in a]))[1])


def plain_sign_distance(a: ClipAndWeight, b: ClipAndWeight) -> float:
    """What `recognition.sign_distances` gives for one pair."""
    (x, x_seen), (y, y_seen) = recognition._arms_and_hands(a), recognition._arms_and_hands(b)
    costs = []
    for points, seen in zip(x, x_seen, strict=True):
        both = seen & y_seen
        costs.append(np.sqrt((((points - y) ** 2).sum(-1) * both).sum(-1) / both.sum(-1)))
    total, path = plain_dtw(np.stack(costs))
    return total / len(path)


class Plain:
    """The parts of the plain loop, each timed on a few clips."""

    def __init__(self, work: Path, samples: int) -> None:
        self.samples, self.seconds = samples, {}
        references = read_references(load_split(work / "data", "test"))
        self.train = load_split(work / "data", "train")
        self.scale = sync.nmm_scale(references)
        self.limits = naturalness.hand_limits(self.train)
        self.frames = naturalness.TrainFrames.build(self.train, references[:8])
        self.autoencoder, self.statistics, _ = load_autoencoder(work / "autoencoder.pt")
        chosen = np.random.default_rng(0).permutation(len(references))[:samples]
        self.pairs: list[tuple[np.ndarray, Reference]] = [
            (np.load(work / "predictions" / f"{references[n].id}.npy"), references[n]) for n in chosen
        ]
        frames = sum(len(reference.pose) for reference in references)
        dim = self.autoencoder.config.latent_dim
        self.latents = np.random.default_rng(0).normal(size=(frames, dim))

    def measure(self) -> None:
        """Time every part once more."""
        self._time("pair", self._pair, [(a, b) for a in self.pairs[:5] for b in self.pairs[:5]])
        align, metrics.align = metrics.align, plain_align
        self._time("clip", self._clip, self.pairs)
        metrics.align = align
        self._time("encode", self._encode, self.pairs)
        self._time("decode", self._decode, self.pairs[:4])
        self._time("train_clip", lambda n: naturalness._known_hands(n, self.train), range(self.samples))
        self._time("draw", self._draw, range(2))

    def _time(self, name: str, function: Callable, tasks: object) -> None:
        tasks = list(tasks)
        started = time.perf_counter()
        for task in tasks:
            function(task)
        self.seconds.setdefault(name, []).append((time.perf_counter() - started) / len(tasks))

    def _pair(self, pair: tuple) -> float:
        (prediction, _), (_, reference) = pair
        return plain_sign_distance((prediction, None), (reference.pose, reference.weight))

    def _clip(self, pair: tuple[np.ndarray, Reference]) -> None:
        prediction, reference = pair
        evaluator._score_clip((prediction, None, reference, self.scale, sync.MAX_LAG))
        watched = motion.watched_keypoints(reference.weight)
        naturalness.bone_length_variation(prediction, None, watched)
        naturalness.implausible_hands(prediction, None, watched, self.limits)
        self.frames.copied(prediction, None)

    @torch.no_grad()
    def _encode(self, pair: tuple[np.ndarray, Reference]) -> None:
        x = torch.from_numpy(self.statistics.normalize(pair[0]))[None]
        self.autoencoder.encode(x, torch.ones(x.shape[:2], dtype=torch.bool))

    @torch.no_grad()
    def _decode(self, pair: tuple[np.ndarray, Reference]) -> None:
        mask = torch.ones(1, len(pair[0]), dtype=torch.bool)
        self.autoencoder.decode(torch.zeros(1, len(pair[0]), self.autoencoder.config.latent_dim), mask)

    def _draw(self, _: int) -> None:
        for _ in range(2):  # of the clips and of the references
            mean = self.latents.mean(0)
            root = np.linalg.eigh((self.latents - mean).T @ (self.latents - mean))
        np.linalg.eigvalsh(root[1])

    def total(self, clips: int) -> dict[str, float]:
        """Seconds of a whole evaluation, by part."""
        one = {name: sum(values) / len(values) for name, values in self.seconds.items()}
        return {
            "recognition": ROWS * clips**2 * one["pair"],
            "diversity": ROWS * 2 * clips * TAKES * one["pair"],
            "clip by clip": ROWS * clips * one["clip"],
            "encoding": (ROWS + 1) * clips * one["encode"],
            "reconstruction": clips * (one["encode"] + one["decode"]),
            "train clips": TRAIN_CLIPS * one["train_clip"],
            "frechet intervals": ROWS * FRECHET_RESAMPLES * one["draw"],
        }


def check(work: Path) -> float:
    """The largest difference between the plain sign distance and evaluate.py's, over a few pairs."""
    references = read_references(load_split(work / "data", "test"))[:4]
    clips = [(reference.pose, reference.weight) for reference in references]
    plain = [[plain_sign_distance(a, b) for b in clips] for a in clips]
    return float(np.abs(np.array(plain) - recognition.sign_distances(clips, clips)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", type=Path, default=ROOT / "runs" / "benchmark_evaluation")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=10, help="clips on which the plain loop is timed, twice")
    args = parser.parse_args()
    work = args.work_dir / f"{args.clips}x{args.frames}"
    if not (work / "predictions").is_dir():
        make_data(work, args.clips, args.frames)

    plain = Plain(work, min(args.samples, args.clips))
    plain.measure()
    run = run_script(
        "evaluate.py", "--data_dir", work / "data", "--predictions_dir", work / "predictions", "--split", "test",
        "--autoencoder_checkpoint", work / "autoencoder.pt", "--num_workers", args.num_workers,
        "--output_dir", work / "evaluation",
    )  # fmt: skip
    plain.measure()
    parts = {name: round(seconds, 1) for name, seconds in plain.total(args.clips).items()}
    seconds = sum(parts.values())
    report = {
        "clips": args.clips, "frames": args.frames, "cores": os.cpu_count(), "num_workers": args.num_workers, **run,
        "plain_seconds": round(seconds), "plain_parts": parts,
        "plain_pair_ms": [round(1000 * value, 2) for value in plain.seconds["pair"]],
        "ratio": round(seconds / run["seconds"], 1), "largest_difference": check(work),
    }  # fmt: skip
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
