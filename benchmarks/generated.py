"""What several benchmarks need: data sets of any size, an autoencoder of the default sizes, a script's time and memory.

Clips are real letters joined into strings, brought to a length, with a little noise. What is measured on them is time
and memory; every clip is another one, since its letters, their tempo and the noise differ.
"""

import dataclasses
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import ROOT

from checkpoints import AUTOENCODER, save_checkpoint
from importers import spelling
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from poses import face
from poses.statistics import STATISTICS_FILE, Statistics

ALPHABET = "ase"
FRAMES_A_LETTER = 20  # so that strings need little stretching to fill a clip
NOISE = 0.001  # image units, about what a pose detector trembles by


class Signer:
    """Makes clips: `sign` gives the same clip for the same letters, frames and seed."""

    def __init__(self) -> None:
        self.letters = spelling.read_alphabet(spelling.find_lexicon(), ALPHABET)

    def text(self, frames: int, rng: np.random.Generator) -> str:
        """Random letters, as many as fit into so many frames."""
        return "".join(rng.choice(sorted(self.letters), max(1, frames // FRAMES_A_LETTER)))

    def sign(self, text: str, frames: int, rng: np.random.Generator) -> spelling.Take:
        take = spelling.join_letters(self.letters, text, rng).take
        take = take.at(np.linspace(0, len(take) - 1, frames))
        noisy = [
            (part + rng.normal(scale=NOISE, size=part.shape)).astype(np.float32) for part in (take.keypoints, take.nmm)
        ]
        return spelling.Take(noisy[0] * (take.visibility > 0)[..., None], take.visibility, noisy[1])


def write_split(
    folder: Path, split: str, lengths: Sequence[int], num_texts: int, words: int | None = None, seed: int = 0
) -> None:
    """A split of one clip a length in the data layout; its texts repeat after `num_texts` clips.

    words: length of the written texts, where it shall not be that of what is signed.
    """
    signer, rng = Signer(), np.random.default_rng([seed, *split.encode()])
    longest = max(lengths)
    texts = [signer.text(longest, rng) for _ in range(num_texts)]
    for part in ("poses", "nmms"):
        (folder / split / part).mkdir(parents=True, exist_ok=True)
    lines = []
    for number, frames in enumerate(lengths):
        text = texts[number % num_texts]
        take = signer.sign(text, frames, rng)
        name = f"{split}{number:05d}"
        np.savez(folder / split / "poses" / f"{name}.npz", keypoints=take.keypoints, visibility=take.visibility)
        with open(folder / split / "nmms" / f"{name}.pkl", "wb") as file:
            pickle.dump(face.split_nmm(take.nmm), file)
        written = text if words is None else rng.choice(list(text), words)
        lines.append(f"{name}|{' '.join(written)}\n")
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")


def write_autoencoder(path: Path, data_dir: Path, temporal_stride: int = 1) -> None:
    """A checkpoint of an autoencoder of the default sizes with random weights: its cost is a trained one's."""
    statistics = Statistics.load(data_dir / STATISTICS_FILE)
    torch.manual_seed(0)
    config = AutoencoderConfig(temporal_stride=temporal_stride)
    model = PoseAutoencoder(config, statistics)
    for parameter in model.parameters():
        if not parameter.any() and parameter.ndim == 2:  # layers that start at zero
            torch.nn.init.normal_(parameter, std=0.02)
    content = {"kind": AUTOENCODER, "config": dataclasses.asdict(config), "weights": model.state_dict()}
    content |= {"statistics": statistics.to_dict(), "parent": None, "text_encoder": None, "settings": {}, "epoch": 0}
    save_checkpoint(path, content)


def run_script(script: str, *flags: object) -> dict[str, float]:
    """Run a script as a user does; its wall seconds and its own peak memory."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, ROOT / script, *map(str, flags)], stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            output.seek(0)
            sys.exit(f"{script} failed:\n{output.read()}")
    return {"seconds": round(time.perf_counter() - started, 2), "peak_gb": round(usage.ru_maxrss / 2**20, 3)}
