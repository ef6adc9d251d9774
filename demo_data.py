"""Make the demo's data set: real letters of one manual alphabet, and words joined from them.

    pip install --no-deps spoken-to-signed==0.4.0       # 600 .pose clips of letters, 20 alphabets, MIT licence
    python demo_data.py --output_dir demo/data --alphabet ase

Writes the data layout (README, "Your own data"), the text of a word being its letters ("h e l l o"); `spelling.json`,
which says which letter is signed when: ID → [[letter, first frame, end frame], ...]; and `held_out.txt`, a line
`file|text` for each --hold_out. The words of dev and test never occur in train; their letters do, since train also has
every letter alone.
"""

import argparse
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from importers.spelling import FPS, Letter, find_lexicon, join_letters, letters_of, read_alphabet
from poses import face, files
from runtime.arguments import make_parser, natural_int
from runtime.console import progress_bar, say
from runtime.errors import UserError, run
from runtime.files import write_whole

WORD_LIST = Path(__file__).with_name("demo_words.txt")
HELD_OUT_SHARE = 0.1  # of the words, for dev and for test each


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--output_dir", type=Path, default=Path("demo/data"), help="where the data set is written (default demo/data)"
    )
    parser.add_argument(
        "--alphabet", default="ase", help="signed language, such as ase (American, the default) or gsg (German)"
    )
    parser.add_argument("--num_words", type=int, default=400, help="words in all three splits together (default 400)")
    parser.add_argument("--hold_out", nargs="*", default=[], metavar="WORD", help="words that only test has")
    parser.add_argument("--lexicon_dir", type=Path, help="folder of the letters; default: the package's")
    parser.add_argument("--seed", type=natural_int, default=0, help="chooses words, splits and tempos (default 0)")
    return parser.parse_args()


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
    try:
        lines, spelling, frames = _write_clips(partial, alphabet, clips, split, seed)
        with write_whole(output_dir / "spelling.json", "w") as file:
            json.dump(spelling, file, ensure_ascii=False)
        for name in files.SPLITS:
            shutil.rmtree(output_dir / name, ignore_errors=True)
            (partial / name).rename(output_dir / name)
            with write_whole(output_dir / f"{name}.txt", "w") as file:
                file.writelines(sorted(lines[name]))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return frames


def _write_clips(
    folder: Path, alphabet: str, clips: dict[str, Letter], split: dict[str, list[str]], seed: int
) -> tuple[dict[str, list[str]], dict[str, list[list]], dict[str, int]]:
    """Write all clips to folder/SPLIT; returns the lines of each split's texts, the spelling of each clip, and the
    number of frames of each split."""
    spelling: dict[str, list[list]] = {}
    frames = dict.fromkeys(files.SPLITS, 0)
    jobs = [("train", "letter", letter) for letter in sorted(clips)]
    jobs += [(name, "word", word) for name in files.SPLITS for word in split[name]]
    lines: dict[str, list[str]] = {name: [] for name in files.SPLITS}
    for number, (name, kind, text) in enumerate(progress_bar(jobs, "joining letters into words", "clip")):
        spelled = join_letters(clips, text, np.random.default_rng([seed, number]))
        clip_id = _clip_id(alphabet, kind, text)
        for part in ("poses", "nmms"):
            (folder / name / part).mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / name / "poses" / f"{clip_id}.npz",
            keypoints=spelled.take.keypoints,
            visibility=spelled.take.visibility,
            fps=np.float32(FPS),
        )
        with open(folder / name / "nmms" / f"{clip_id}.pkl", "wb") as file:
            pickle.dump(face.split_nmm(spelled.take.nmm), file)
        lines[name].append(f"{clip_id}|{' '.join(letters_of(text, clips))}\n")
        spelling[clip_id] = spelled.segments
        frames[name] += len(spelled.take)
    return lines, spelling, frames


def write_held_out(path: Path, alphabet: str, texts: Sequence[list[str]]) -> None:
    """A line `SPLIT/poses/ID.npz|text` for each spelled text: where its real clip lies, and its text in the data."""
    with write_whole(path, "w") as file:
        for letters in texts:
            split, kind = ("test", "word") if len(letters) > 1 else ("train", "letter")
            file.write(f"{split}/poses/{_clip_id(alphabet, kind, ''.join(letters))}.npz|{' '.join(letters)}\n")


def _clip_id(alphabet: str, kind: str, text: str) -> str:
    ascii_text = "".join(letter if letter.isascii() else f"u{ord(letter):04x}" for letter in text)
    return f"{alphabet}_{kind}_{ascii_text}"


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
    summary = "; ".join(f"{name} {counts[name]} clips and texts, {frames[name]} frames" for name in files.SPLITS)
    print(f"{args.output_dir}: {summary} ({len(clips)} letters of {args.alphabet})")


if __name__ == "__main__":
    run(main)
