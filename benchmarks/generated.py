"""Data sets of any size for the benchmarks: real letters joined into strings, brought to a length, with a little noise.

What is measured on them is time and memory. Every clip is another one: its letters, their tempo and the noise differ.
"""

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import demo_data  # noqa: E402
from poses import features  # noqa: E402

ALPHABET = "ase"
FRAMES_A_LETTER = 20  # so that strings need little stretching to fill a clip
NOISE = 0.001  # image units, about what a pose detector trembles by


class Signer:
    """Makes clips: `sign` gives the same clip for the same letters, frames and seed."""

    def __init__(self) -> None:
        self.letters = demo_data.read_alphabet(demo_data.find_lexicon(), ALPHABET)

    def text(self, frames: int, rng: np.random.Generator) -> str:
        """Random letters, as many as fit into so many frames."""
        return "".join(rng.choice(sorted(self.letters), max(1, frames // FRAMES_A_LETTER)))

    def sign(self, text: str, frames: int, rng: np.random.Generator) -> demo_data.Take:
        take = demo_data.join_letters(self.letters, text, rng).take
        take = take.at(np.linspace(0, len(take) - 1, frames))
        noisy = [
            (part + rng.normal(scale=NOISE, size=part.shape)).astype(np.float32) for part in (take.keypoints, take.nmm)
        ]
        return demo_data.Take(noisy[0] * (take.visibility > 0)[..., None], take.visibility, noisy[1])


def write_split(folder: Path, split: str, lengths: Sequence[int], num_texts: int, seed: int = 0) -> None:
    """A split of one clip a length in the data layout; its texts repeat after `num_texts` clips."""
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
            pickle.dump(features.split_nmm(take.nmm), file)
        lines.append(f"{name}|{' '.join(text)}\n")
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
