"""Texts that slipped by some lines are told by their lengths, and a signer whose name is written in two ways, too."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from poses.text_notes import ENOUGH_TEXTS, MOST_LINES, notes_on_signers, notes_on_texts, shifted_texts


def sentences(count: int, noise: float = 0.3) -> tuple[list[str], np.ndarray]:
    """Texts and the frames of their clips: about five for each letter."""
    rng = np.random.default_rng(0)
    letters = rng.integers(10, 120, size=count)
    return ["a" * length for length in letters], np.ceil(5 * letters * np.exp(noise * rng.normal(size=count)))


@pytest.mark.parametrize("lines", [1, -1, MOST_LINES])
def test_texts_that_slipped_are_told(lines: int):
    texts, frames = sentences(60)
    assert shifted_texts(texts, frames) is None
    slipped = [texts[(number + lines) % len(texts)] for number in range(len(texts))]
    assert shifted_texts(slipped, frames) == -lines


def test_lengths_that_tell_nothing_are_not_told():
    texts, frames = sentences(60)
    assert shifted_texts(texts, np.full(60, 30)) is None
    assert shifted_texts(["hello"] * 60, frames) is None
    assert shifted_texts(texts, np.random.default_rng(1).permutation(frames)) is None
    few, frames = sentences(ENOUGH_TEXTS - 1)
    assert shifted_texts([few[-1], *few[:-1]], frames) is None


def test_one_signer_in_two_spellings_is_told(tmp_path: Path):
    signers = {"train": Counter(Anna=3, ben=2), "dev": Counter(Anna=1), "test": Counter(anna=1, ben=1)}
    told = list(notes_on_signers(tmp_path, signers, {"Anna", "ben"}))
    assert told[0] == "signers: Anna and anna are learnt as different people; is this one name in several spellings?"
    signers["test"] = Counter(Anna=1)
    assert list(notes_on_signers(tmp_path, signers, {"Anna", "ben"})) == []


def test_a_signer_for_each_clip_and_a_line_of_many_strangers_are_told(tmp_path: Path):
    names = [f"p{number:02}" for number in range(25)]
    signers = {"train": Counter(["anna", "ben"]), "dev": Counter(names), "test": Counter(["anna"])}
    own, strangers = notes_on_signers(tmp_path, signers, {"anna", "ben"})
    assert own.startswith("train: each clip has a signer of its own")
    assert "p18, p19 and 5 others, who will be signed as the mean" in strangers
    signers = {split: Counter(["anna", "anna"]) for split in ("train", "dev", "test")}
    assert list(notes_on_signers(tmp_path, signers, {"anna"})) == []


def test_a_train_split_of_one_text_is_told():
    assert list(notes_on_texts("train", ["hello", "Hello.", "hello"])) == [
        "train: every text is 'hello', so no model learns to sign one text or another"
    ]
    assert list(notes_on_texts("train", ["hello", "good morning"])) == []
    assert list(notes_on_texts("train", ["hello"])) == []
    assert list(notes_on_texts("dev", ["hello", "hello"])) == []
