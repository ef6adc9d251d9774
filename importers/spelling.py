"""Real letters of a manual alphabet from the lexicon of spoken-to-signed, and words that are spelled with them."""

import csv
import importlib.util
import io
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poses import layout
from poses.holistic import read_pose_file
from poses.interpolation import between, frames_around
from runtime.console import progress_bar
from runtime.errors import UserError
from runtime.files import read_text

FPS = 25.0
INSTALL = "pip install --no-deps spoken-to-signed==0.4.0"
SLOW = 0.035  # shoulder widths a frame: below it a hand holds its letter
TEMPO = (0.5, 0.85)  # length of a letter within a word, as a part of its length alone
BOUNCE = 0.2  # shoulder widths by which a hand moves outwards between two equal letters


@dataclass(frozen=True)
class Take:
    """Frames of signing at 25 fps: keypoints [T,75,2], visibility [T,75], nmm [T,64], NaN where no face was seen."""

    keypoints: np.ndarray
    visibility: np.ndarray
    nmm: np.ndarray

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def pose(self) -> np.ndarray:
        """The take as a pose [T,214]."""
        return layout.keypoints_to_frame(self.keypoints, self.nmm)

    def at(self, moments: np.ndarray) -> "Take":
        """The take at the given moments, in frames, which may lie between two frames."""
        before, after, weight = frames_around(moments, len(self))
        return _between(self, before, self, after, weight)


@dataclass(frozen=True)
class Letter:
    """A real clip of one letter; within it the hand holds (or moves) the letter from frame `start` up to `end`."""

    take: Take
    start: int
    end: int


@dataclass(frozen=True)
class Spelling:
    """A spelled word: the take, and for each letter [letter, first frame, end frame]."""

    take: Take
    segments: list[list]


def find_lexicon() -> Path:
    """The letters inside the installed package `spoken_to_signed`, which is not imported."""
    spec = importlib.util.find_spec("spoken_to_signed")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package spoken-to-signed, which carries the letters, is not installed; run: {INSTALL}")
    return Path(next(iter(spec.submodule_search_locations))) / "assets" / "fingerspelling_lexicon"


def read_alphabet(lexicon_dir: Path, alphabet: str) -> dict[str, Letter]:
    """The single letters of an alphabet (signed language, such as 'ase'), lower case."""
    index = lexicon_dir / "index.csv"
    if not index.is_file():
        raise UserError(f"{index}: no such file; pass the folder of the letters with --lexicon_dir, or run: {INSTALL}")
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(index), newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{index}: no table of letters ({error}); run again: {INSTALL}") from None
    needed = ("path", "signed_language", "words")
    if not rows or not all(isinstance(row.get(name), str) for row in rows for name in needed):
        raise UserError(f"{index}: lacks the columns path, signed_language and words, or a row does; run: {INSTALL}")
    known = sorted({row["signed_language"] for row in rows})
    if alphabet not in known:
        raise UserError(f"--alphabet {alphabet}: {index} has no such alphabet; it has {', '.join(known)}")
    rows = [row for row in rows if row["signed_language"] == alphabet]
    paths = {unicodedata.normalize("NFC", row["words"]): lexicon_dir / row["path"] for row in rows}
    paths = {letter: path for letter, path in paths.items() if len(letter) == 1 and letter.isalpha()}
    if "İ" in paths:  # Turkish: the lower case of I is ı
        paths = {{"İ": "i", "I": "ı"}.get(letter, letter): path for letter, path in paths.items()}
    if len(paths) < 5:
        raise UserError(f"--alphabet {alphabet}: only {len(paths)} single letters; choose one of {', '.join(known)}")
    shown = progress_bar(sorted(paths.items()), f"reading the letters of {alphabet}", "clip")
    return {letter.lower(): read_letter(path) for letter, path in shown}


def read_letter(path: Path) -> Letter:
    """Read a letter's clip, brought to 25 fps, and find where the hand holds it, between its way up and down."""
    recording = read_pose_file(path, z_scale=1.0)  # the letters' depth as it is: their heads hardly turn
    take = Take(recording.keypoints, recording.visibility, recording.nmm)
    if recording.fps > 0 and abs(recording.fps - FPS) > 0.1:
        take = take.at(np.linspace(0, len(take) - 1, max(2, round(len(take) * FPS / recording.fps))))
    width = _shoulder_width(take)
    hand = layout.HAND_KEYPOINTS[_active_hand(take)]
    points, seen = take.keypoints[:, hand], (take.visibility[:, hand] > 0).all(1)
    speed = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(1) / width
    speed = np.minimum(np.append(speed, np.inf), np.insert(speed, 0, np.inf))  # of the slower side of each frame
    height = points[:, layout.HAND_ROOT, 1]
    low, high = (height[seen].max(), height[seen].min()) if seen.any() else (0.0, 0.0)  # y points down
    raised = (height <= (low + high) / 2) | (low - high < 0.3 * width)
    held = np.flatnonzero((speed < SLOW) & raised & seen)
    if len(held) == 0 or held[-1] - held[0] < 4:
        return Letter(take, len(take) // 4, len(take) - len(take) // 4)
    return Letter(take, int(held[0]), int(held[-1]) + 1)


def letters_of(text: str, letters: Iterable[str]) -> list[str]:
    """The letters of a text, blanks left out; an accent that the alphabet lacks is dropped. UserError for others."""
    spelled = []
    for character in unicodedata.normalize("NFC", text.lower()):
        plain = unicodedata.normalize("NFD", character)[0]
        if character in letters or plain in letters:
            spelled.append(character if character in letters else plain)
        elif not character.isspace():
            raise UserError(f"'{text}': the alphabet has no '{character}'; it has {' '.join(sorted(letters))}")
    if not spelled:
        raise UserError("the text holds no letters; give a word such as hello")
    return spelled


def join_letters(clips: dict[str, Letter], text: str, rng: np.random.Generator) -> Spelling:
    """Spell a text with real letters: the hand rises, holds each letter, moves to the next, and sinks after the last.

    Each letter is resampled in time by a random factor, so that two takes of a word differ. A single letter keeps its
    own tempo within 10 %.
    """
    spelled = letters_of(text, clips)
    alone = len(spelled) == 1
    parts: list[Take] = []
    segments: list[list] = []
    length = 0
    for number, name in enumerate(spelled):
        letter = clips[name]
        tempo = rng.uniform(0.9, 1.1) if alone else rng.uniform(*TEMPO)
        frames = max(5, round((letter.end - letter.start) * tempo))
        held = letter.take.at(np.linspace(letter.start, letter.end - 1, frames))
        if number == 0:
            onset = letter.take.at(np.arange(letter.start))
            parts.append(onset)
            length += len(onset)
        else:
            move = _transition(parts[-1], held, rng, again=name == spelled[number - 1])
            parts.append(move)
            length += len(move)
        segments.append([name, length, length + len(held)])
        parts.append(held)
        length += len(held)
    last = clips[spelled[-1]]
    parts.append(last.take.at(np.arange(last.end, len(last.take))))
    joined = (np.concatenate([getattr(part, field) for part in parts]) for field in ("keypoints", "visibility", "nmm"))
    return Spelling(Take(*joined), segments)


def _between(a: Take, a_frames: np.ndarray, b: Take, b_frames: np.ndarray, weight: np.ndarray) -> Take:
    """Frames between frames of `a` and frames of `b` (weight 0 → a, 1 → b); what only one side sees is not mixed."""
    nearer_b = weight >= 0.5
    visibility = np.where(nearer_b[:, None], b.visibility[b_frames], a.visibility[a_frames])
    both = (a.visibility[a_frames] > 0) & (b.visibility[b_frames] > 0)
    of_keypoint = np.where(both, weight[:, None], nearer_b[:, None]).astype(np.float32)[..., None]
    keypoints = between(a.keypoints[a_frames], b.keypoints[b_frames], of_keypoint)
    a_nmm, b_nmm = a.nmm[a_frames], b.nmm[b_frames]
    nmm = between(a_nmm, b_nmm, weight.astype(np.float32)[:, None])
    nearer = np.where(nearer_b[:, None], b_nmm, a_nmm)
    return Take(keypoints, visibility, np.where(np.isfinite(a_nmm) & np.isfinite(b_nmm), nmm, nearer))


def _transition(a: Take, b: Take, rng: np.random.Generator, again: bool) -> Take:
    """The hand's way from the last frame of `a` to the first of `b`: the longer, the more frames; slow at both ends.

    Between two equal letters (`again`) the hand moves outwards and back, or they would look like one.
    """
    hand, width = _active_hand(a), _shoulder_width(a)
    both = (a.visibility[-1] > 0) & (b.visibility[0] > 0)
    way = np.linalg.norm(a.keypoints[-1] - b.keypoints[0], axis=1) * both
    distance = float(way[layout.HAND_KEYPOINTS[hand]].mean()) / width
    frames = int(np.clip(round(3 + 5 * distance), 3, 7)) + int(rng.integers(0, 2))
    time = np.arange(1, frames + 1) / (frames + 1)
    zeros = np.zeros(frames, dtype=int)
    move = _between(a, zeros + len(a) - 1, b, zeros, time**2 * (3 - 2 * time))
    if again:
        outwards = 1.0 if hand == "left" else -1.0  # the signer's left is at the right of the picture
        shift = (outwards * BOUNCE * width * np.sin(np.pi * time)).astype(np.float32)[:, None]
        elbow = layout.LEFT_ELBOW if hand == "left" else layout.RIGHT_ELBOW
        moved = [*range(*layout.HAND_KEYPOINTS[hand].indices(layout.NUM_KEYPOINTS)), *layout.BODY_OF_HAND[hand]]
        move.keypoints[:, moved, 0] += shift * (move.visibility[:, moved] > 0)
        move.keypoints[:, [elbow], 0] += 0.4 * shift * (move.visibility[:, [elbow]] > 0)
    return move


def _active_hand(take: Take) -> str:
    """'left' or 'right': the hand that is seen more, and of two seen alike the one that is held higher."""
    seen = {name: (take.visibility[:, hand] > 0).mean() for name, hand in layout.HAND_KEYPOINTS.items()}
    height = {name: -take.keypoints[:, hand, 1].mean() for name, hand in layout.HAND_KEYPOINTS.items()}
    return max(layout.HAND_KEYPOINTS, key=lambda name: (round(float(seen[name]), 1), height[name]))


def _shoulder_width(take: Take) -> float:
    shoulders = take.keypoints[:, layout.LEFT_SHOULDER] - take.keypoints[:, layout.RIGHT_SHOULDER]
    return max(float(np.median(np.linalg.norm(shoulders, axis=1))), 1e-3)
