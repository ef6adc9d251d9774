"""Captions of clips: what is signed when, as `demo_data.py` writes it to spelling.json."""

import math
from pathlib import Path

from runtime.errors import UserError
from runtime.files import composed
from runtime.untrusted import read_json

Captions = list[tuple[str, int, int]]  # text, first frame, end frame
MOST_FRAMES = 2**53  # a float holds whole numbers exactly up to here


def read_captions(path: Path) -> dict[str, Captions]:
    """What is signed when, by the clips' IDs in composed Unicode."""
    try:
        captions = {}
        for clip_id, segments in read_json(path).items():
            own = [(str(text), start, end) for text, start, end in segments or []]
            if not all(type(start) is int and type(end) is int for _, start, end in own):
                raise ValueError
            if not all(0 <= start <= end < MOST_FRAMES for _, start, end in own):
                raise ValueError
            captions[composed(clip_id)] = own
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; demo_data.py writes spelling.json beside its splits") from None
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path}: not JSON of the form {{ID: [[text, first frame, end frame], ...]}}") from None
    return captions


def in_clip_frames(captions: Captions, start: int, step: float) -> Captions:
    """Captions in frames of a file -> in frames of a clip, whose frame t is the file's frame start + t * step."""
    moved = ((text, *(math.ceil((time - start) / step - 1e-6) for time in times)) for text, *times in captions)
    return [(text, max(0, first), end) for text, first, end in moved if end > max(0, first)]


def each_frame(captions: Captions | None, length: int) -> list[str] | None:
    """A caption for each of `length` frames, '' between two of them."""
    if captions is None:
        return None
    texts = [""] * length
    for text, start, end in captions:
        texts[start:end] = [text] * (min(end, length) - start)
    return texts
