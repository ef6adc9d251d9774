"""evaluate.py on 500 clips of 120 frames, every metric but back-translation, against a plain loop. Prints JSON.

    python benchmarks/evaluation.py                 # 6 minutes on 2 cores
    python benchmarks/evaluation.py --clips 50      # a glance; the ratio grows with the number of clips

The plain loop is one process, clip after clip: DTW in pure Python, in recognition and diversity for every pair of clips
(the distances of a frame to all frames of the other clip by one numpy expression), the project's own functions for the
other metrics, every clip encoded for itself, and the moments of all latents for each draw of the Fréchet interval. It
would take hours, so each of its parts is timed on a few clips, before and after evaluate.py runs, and multiplied by how
often evaluate.py needs it: `plain_seconds` is the sum, `ratio` that over the seconds of evaluate.py.
"""

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
from evaluation import naturalness, recognition, sync
from evaluation.clips import Clip, Reference, read_references
from evaluation.evaluator import pair_values
from evaluation.formulas import FRECHET_RESAMPLES
from evaluation.predictions import read_predictions
from poses import layout
from poses.presence import NUM_ARTICULATORS
from poses.splits import load_split
from runtime.arguments import make_parser, natural_int, positive_int

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


def plain_sign_distance(a: Clip, b: Clip) -> float:
    """What `recognition.sign_distances` gives for one pair whose frames all saw something."""
    (x, _, x_known, x_absent), (y, _, y_known, y_absent) = recognition.arms_and_hands(a), recognition.arms_and_hands(b)
    costs = []
    for points, known, absent in zip(x, x_known, x_absent, strict=True):
        both = known & y_known & ~((absent & y_absent) @ recognition.OF_HAND)
        costs.append(np.sqrt((((points - y) ** 2).sum(-1) * both).sum(-1) / both.sum(-1)))
    total, path = plain_dtw(np.stack(costs))
    return total / len(path)


class Plain:
    """The parts of the plain loop, each timed on a few clips."""

    def __init__(self, work: Path, samples: int) -> None:
        self.samples, self.seconds = samples, {}
        references = self.references = read_references(load_split(work / "data", "test"))
        self.train = load_split(work / "data", "train")
        self.scale = sync.nmm_scale(references)
        self.limits = naturalness.hand_limits(self.train)
        self.frames = naturalness.TrainFrames(self.train, references[:8])
        self.autoencoder, self.statistics, _ = load_autoencoder(work / "autoencoder.pt")
        chosen = np.random.default_rng(0).permutation(len(references))[:samples]
        chosen = [references[n] for n in chosen]
        self.pairs = list(zip(read_predictions(work / "predictions", chosen), chosen, strict=True))
        frames = sum(len(reference.pose) for reference in references)
        dim = self.autoencoder.config.latent_dim
        self.latents = np.random.default_rng(0).normal(size=(frames, dim))

    def measure(self) -> None:
        """Time every part once more."""
        pairs = [(prediction, reference) for prediction, _ in self.pairs[:5] for _, reference in self.pairs[:5]]
        self._time("pair", lambda pair: plain_sign_distance(*pair), pairs)
        self._time("clip", self._clip, self.pairs)
        self._time("encode", self._encode, self.pairs)
        self._time("decode", self._decode, self.pairs[:4])
        self._time("train_clip", lambda n: naturalness.seen_hands(n, self.train), range(self.samples))
        self._time("draw", self._draw, range(2))

    def _time(self, name: str, function: Callable, tasks: object) -> None:
        tasks = list(tasks)
        started = time.perf_counter()
        for task in tasks:
            function(task)
        self.seconds.setdefault(name, []).append((time.perf_counter() - started) / len(tasks))

    def _clip(self, pair: tuple[Clip, Reference]) -> None:
        """A clip beside its reference. Both alignments are made once more, fast, which adds little."""
        pair_values(pair, self.scale, self.limits)
        self.frames.nearest_distances(pair[:1])
        prediction, reference = (clip.rebuilt().pose for clip in pair)
        for dims in (slice(None), layout.MANUAL):
            plain_align(prediction[:, dims], reference[:, dims])

    @torch.no_grad()
    def _encode(self, pair: tuple[Clip, Reference]) -> None:
        x = torch.from_numpy(self.statistics.normalize(pair[0].pose))[None]
        present = torch.ones(*x.shape[:2], NUM_ARTICULATORS, dtype=torch.bool)
        self.autoencoder.encode(x, present, torch.ones(x.shape[:2], dtype=torch.bool))

    @torch.no_grad()
    def _decode(self, pair: tuple[Clip, Reference]) -> None:
        frames = len(pair[0].pose)
        mask = torch.ones(1, frames, dtype=torch.bool)
        self.autoencoder.decode(torch.zeros(1, frames, self.autoencoder.config.latent_dim), mask)

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


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--work_dir", type=Path, default=ROOT / "runs" / "benchmark_evaluation", help="where data and reports are kept"
    )
    parser.add_argument("--clips", type=positive_int, default=500, help="clips that are scored (default 500)")
    parser.add_argument("--frames", type=positive_int, default=120, help="frames of each (default 120)")
    parser.add_argument("--num_workers", type=natural_int, default=2, help="processes of evaluate.py (default 2)")
    parser.add_argument(
        "--samples", type=positive_int, default=10, help="clips on which the plain loop is timed, twice (default 10)"
    )
    args = parser.parse_args()
    work = args.work_dir / f"{args.clips}x{args.frames}"
    if not (work / "predictions").is_dir():
        make_data(work, args.clips, args.frames)

    plain = Plain(work, min(args.samples, args.clips))
    plain.measure()
    flags = {"--data_dir": work / "data", "--predictions_dir": work / "predictions", "--split": "test"}
    flags |= {"--autoencoder_checkpoint": work / "autoencoder.pt", "--num_workers": args.num_workers}
    flags["--output_dir"] = work / "evaluation"
    run = run_script("evaluate.py", *(word for flag in flags.items() for word in flag))
    plain.measure()
    parts = {name: round(seconds, 1) for name, seconds in plain.total(args.clips).items()}
    seconds = sum(parts.values())
    report = {"clips": args.clips, "frames": args.frames, "cores": os.cpu_count(), "num_workers": args.num_workers}
    report |= {**run, "plain_seconds": round(seconds), "plain_parts": parts}
    report["plain_pair_ms"] = [round(1000 * value, 2) for value in plain.seconds["pair"]]
    few = plain.references[:4]
    plain_distances = [[plain_sign_distance(a, b) for b in few] for a in few]
    difference = np.abs(plain_distances - recognition.sign_distances(few, few)).max()
    report |= {"ratio": round(seconds / run["seconds"], 1), "largest_difference": float(difference)}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
