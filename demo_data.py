"""Make the demo's data set: real letters of one manual alphabet, and words joined from them.

    pip install --no-deps spoken-to-signed==0.4.0       # 600 .pose clips of letters, 20 alphabets, MIT licence
    python demo_data.py --output_dir demo/data --alphabet ase

Writes the data layout (README, "Your own data"), the text of a word being its letters ("h e l l o"); `spelling.json`,
which says which letter is signed when: ID → [[letter, first frame, end frame], ...]; and `held_out.txt`, a line
`file|text` for each --hold_out. The words of dev and test never occur in train; their letters do, since train also has
every letter alone.
"""

import argparse
import csv
import importlib.util
import json
import pickle
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poses import face, files, layout
from poses.holistic import read_pose_file
from poses.interpolation import between, frames_around
from runtime.arguments import make_parser, natural_int
from runtime.console import progress_bar, say
from runtime.errors import UserError, run
from runtime.files import write_whole

FPS = 25.0
WORD_LIST = Path(__file__).with_name("demo_words.txt")
INSTALL = "pip install --no-deps spoken-to-signed==0.4.0"
HELD_OUT_SHARE = 0.1  # of the words, for dev and for test each

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
    with open(index, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "signed_language", "words"} <= rows[0].keys():
        raise UserError(f"{index}: lacks the columns path, signed_language and words; run again: {INSTALL}")
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
    nmm = np.where(recording.face_seen[:, None], recording.nmm, np.float32(np.nan))
    take = Take(recording.keypoints, recording.visibility, nmm)
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


def choose_words(letters: Sequence[str], number: int, rng: np.random.Generator) -> list[str]:
    """`number` different words of these letters: from the word list, and where that does not reach, random strings."""
    if not WORD_LIST.is_file():
        raise UserError(f"{WORD_LIST}: no such file; restore it from the repository")
    listed = [word for word in WORD_LIST.read_text(encoding="utf-8").split() if set(word) <= set(letters)]
    counts = Counter("".join(listed))
    rarity = np.array([sum(1 / counts[letter] for letter in word) for word in listed])  # so q and z get their share
    size = min(number, len(listed))
    words = rng.choice(listed, size, replace=False, p=rarity / rarity.sum()).tolist() if listed else []
    if len(words) < number:
        say(f"{len(words)} listed words can be spelled; {number - len(words)} random strings of letters join them")
    taken = set(words)
    while len(words) < number:
        word = "".join(rng.choice(letters, rng.integers(3, 6)))
        if word not in taken:
            taken.add(word)
            words.append(word)
    return words


def split_words(words: Sequence[str], held_out: Sequence[str]) -> dict[str, list[str]]:
    """train, dev, test: `held_out` goes to test, and every letter of a dev or test word is also in a word of train."""
    remaining = Counter(letter for word in words for letter in set(word))
    share = max(1, round(HELD_OUT_SHARE * len(words)))
    split: dict[str, list[str]] = {"train": [], "dev": [], "test": list(held_out)}
    for word in words:
        room = next((name for name in ("dev", "test") if len(split[name]) < share), None)
        if word in held_out:
            remaining.subtract(set(word))
        elif room and all(remaining[letter] > 1 for letter in word):
            remaining.subtract(set(word))
            split[room].append(word)
        else:
            split["train"].append(word)
    return split


def write_data(
    output_dir: Path, alphabet: str, clips: dict[str, Letter], split: dict[str, list[str]], seed: int
) -> dict[str, int]:
    """Write the data set (whole splits, moved into place at the end); returns the number of frames of each split."""
    if any((output_dir / name).exists() for name in files.SPLITS) and not (output_dir / "spelling.json").is_file():
        raise UserError(f"{output_dir}: holds a data set that this script did not make; choose another --output_dir")
    partial = output_dir / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    spelling: dict[str, list[list]] = {}
    frames = dict.fromkeys(files.SPLITS, 0)
    jobs = [("train", "letter", letter) for letter in sorted(clips)]
    jobs += [(name, "word", word) for name in files.SPLITS for word in split[name]]
    lines: dict[str, list[str]] = {name: [] for name in files.SPLITS}
    for number, (name, kind, text) in enumerate(progress_bar(jobs, "joining letters into words", "clip")):
        spelled = join_letters(clips, text, np.random.default_rng([seed, number]))
        clip_id, folder = _clip_id(alphabet, kind, text), partial / name
        for part in ("poses", "nmms"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "poses" / f"{clip_id}.npz",
            keypoints=spelled.take.keypoints,
            visibility=spelled.take.visibility,
            fps=np.float32(FPS),
        )
        with open(folder / "nmms" / f"{clip_id}.pkl", "wb") as file:
            pickle.dump(face.split_nmm(spelled.take.nmm), file)
        lines[name].append(f"{clip_id}|{' '.join(letters_of(text, clips))}\n")
        spelling[clip_id] = spelled.segments
        frames[name] += len(spelled.take)
    with write_whole(output_dir / "spelling.json", "w") as file:
        json.dump(spelling, file, ensure_ascii=False)
    for name in files.SPLITS:
        shutil.rmtree(output_dir / name, ignore_errors=True)
        (partial / name).rename(output_dir / name)
        with write_whole(output_dir / f"{name}.txt", "w") as file:
            file.writelines(sorted(lines[name]))
    shutil.rmtree(partial)
    return frames


def write_held_out(path: Path, alphabet: str, texts: Sequence[list[str]]) -> None:
    """A line `SPLIT/poses/ID.npz|text` for each spelled text: where its real clip lies, and its text in the data."""
    with write_whole(path, "w") as file:
        for letters in texts:
            split, kind = ("test", "word") if len(letters) > 1 else ("train", "letter")
            file.write(f"{split}/poses/{_clip_id(alphabet, kind, ''.join(letters))}.npz|{' '.join(letters)}\n")


def _clip_id(alphabet: str, kind: str, text: str) -> str:
    ascii_text = "".join(letter if letter.isascii() else f"u{ord(letter):04x}" for letter in text)
    return f"{alphabet}_{kind}_{ascii_text}"


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


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--output_dir", type=Path, default=Path("demo/data"), help="where the data set is written")
    parser.add_argument("--alphabet", default="ase", help="signed language, such as ase (American), gsg (German)")
    parser.add_argument("--num_words", type=int, default=400, help="words in all three splits together")
    parser.add_argument("--hold_out", nargs="*", default=[], metavar="WORD", help="words that only test has")
    parser.add_argument("--lexicon_dir", type=Path, help="folder of the letters; default: the package's")
    parser.add_argument("--seed", type=natural_int, default=0, help="chooses words, splits and tempos (default 0)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.num_words < 10:
        raise UserError(f"--num_words {args.num_words}: too few for three splits; give at least 10")
    clips = read_alphabet(args.lexicon_dir or find_lexicon(), args.alphabet)
    spelled = [letters_of(text, clips) for text in args.hold_out]
    held_out = list(dict.fromkeys("".join(letters) for letters in spelled if len(letters) > 1))  # a letter is in train
    words = choose_words(sorted(clips), args.num_words, np.random.default_rng(args.seed))
    split = split_words(words, held_out)
    frames = write_data(args.output_dir, args.alphabet, clips, split, args.seed)
    write_held_out(args.output_dir / "held_out.txt", args.alphabet, spelled)
    counts = {**{name: len(split[name]) for name in files.SPLITS}, "train": len(split["train"]) + len(clips)}
    told = "; ".join(f"{name} {counts[name]} clips and texts, {frames[name]} frames" for name in files.SPLITS)
    print(f"{args.output_dir}: {told} ({len(clips)} letters of {args.alphabet})")


if __name__ == "__main__":
    run(main)
