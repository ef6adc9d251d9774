"""A page to look at clips: one HTML file that opens in any browser, without a network.

A page lists entries, each a text with one clip or several side by side (a generated one beside its reference), and what
was measured of them. `page.html` beside this file draws, plays and sorts; here the numbers are packed into it.
"""

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from poses import figure, layout
from poses.face import LIP_LOWER_OUTER, LIP_UPPER_OUTER, OUTER_LIP
from poses.motion import face_energy, hand_energy
from poses.presence import presence
from runtime.files import write_whole

TEMPLATE = Path(__file__).with_suffix(".html")
KEYPOINT_STEP = 1 / 16384  # image heights, at least: a fifth of a pixel of a hand that fills a page
FACE_STEP = 1 / 4096
MAX_PACKED = 32766  # the largest packed number
UNKNOWN = -32768  # stands for NaN
DRAWN = sorted({point for bone in layout.BONES.body for point in bone}) + list(
    range(layout.NUM_BODY, layout.NUM_KEYPOINTS)
)


@dataclass(frozen=True)
class PageClip:
    """A clip of the page: pose [T,214] in data units, seen [T,214] bool, and captions (text, first frame, end)."""

    pose: np.ndarray
    seen: np.ndarray
    captions: Sequence[tuple[str, int, int]] = ()


@dataclass(frozen=True)
class Entry:
    """What the page shows at a time: clips by label, side by side; values by metric, then by label."""

    id: str
    text: str
    fps: float
    clips: Mapping[str, PageClip]
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """A metric of the page. better: 'lower', 'higher', 'near 1', 'near 0', 'as the reference' or '–' for neither."""

    key: str
    better: str
    about: str

    def badness(self, values: Mapping[str, float], label: str, reference: str) -> float:
        """How bad the value of `label` is: the larger, the worse; -inf where undefined. The page sorts by it, too."""
        value = values.get(label, np.nan)
        bad = {
            "higher": -value,
            "near 1": abs(value - 1),
            "near 0": abs(value),
            "as the reference": abs(value - values.get(reference, np.nan)),
        }.get(self.better, value)
        return bad if np.isfinite(bad) else -np.inf


# What every page measures, from the clips alone.
MEASURES = [
    Measure("frames", "–", "length of the clip, frames"),
    Measure("hand energy", "–", "mean speed of the hands as drawn, image units per frame, a detector's noise included"),
    Measure(
        "face energy",
        "–",
        "mean speed of the face numbers as drawn, their standard deviations per frame, a detector's noise included",
    ),
    Measure("left hand", "–", "share of frames with a left hand"),
    Measure("right hand", "–", "share of frames with a right hand"),
    Measure("face", "–", "share of frames with a face"),
]


def write_page(
    path: Path,
    title: str,
    entries: Sequence[Entry],
    face_scale: np.ndarray,
    measures: Sequence[Measure] = (),
    sort: str | None = None,
    aspect: float = 1.0,
) -> None:
    """Write the page.

    face_scale [64]: the unit of each face number, as `face_energy` takes it. sort: the key of the metric by which the
    list is sorted at first, worst first. aspect: width over height of the recorded image. The first label of an entry
    is the reference that 'as the reference' speaks of.
    """
    labels = list(dict.fromkeys(label for entry in entries for label in entry.clips))
    measures = [*measures, *MEASURES]
    shown, packed = _packed_entries(entries, labels, measures, face_scale, aspect)
    known = [any(value is not None for entry in shown for value in entry["values"][m]) for m in range(len(measures))]
    for entry in shown:
        entry["values"] = [values for values, keep in zip(entry["values"], known, strict=True) if keep]
    content = {
        "title": title,
        "labels": labels,
        "entries": shown,
        "measures": [vars(measure) for measure, keep in zip(measures, known, strict=True) if keep],
        "sort": sort,
        "steps": {"face": FACE_STEP, "unknown": UNKNOWN},
        "drawing": _drawing(),
    }
    data = [f'<script type="application/json" id="content">{_json(content)}</script>']
    data += [f'<script type="text/plain" id="part{n}">{part}</script>' for n, part in enumerate(packed)]
    before, after = TEMPLATE.read_text(encoding="utf-8").split("{{data}}")
    script = after[after.index("<script>") + len("<script>") : after.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    with write_whole(path, "w") as file:
        file.write(before.replace("{{digest}}", digest).replace("{{title}}", html.escape(title)))
        file.writelines(f"{line}\n" for line in data)
        file.write(after)


def _packed_entries(
    entries: Sequence[Entry], labels: Sequence[str], measures: Sequence[Measure], face_scale: np.ndarray, aspect: float
) -> tuple[list[dict[str, object]], list[str]]:
    """The entries as the page's script reads them, and the packed numbers of their clips, to which "part" points.

    An entry's "values" are [measures][labels], None where a clip has none.
    """
    shown, packed = [], []
    for entry in entries:
        clips, measured = [], {key: dict(values) for key, values in entry.values.items()}
        views = figure.fit_views([_as_seen(clip) for clip in entry.clips.values()], aspect)
        for (label, clip), view in zip(entry.clips.items(), views, strict=True):
            rows, facts, own = _rows(clip, view, face_scale)
            clips.append({"label": labels.index(label), "part": len(packed), **facts})
            packed.append(_pack(rows))
            for key, value in own.items():
                measured.setdefault(key, {})[label] = value
        values = [[_number(measured.get(measure.key, {}).get(label)) for label in labels] for measure in measures]
        shown.append({"id": entry.id, "text": entry.text, "fps": entry.fps, "clips": clips, "values": values})
    return shown, packed


def _as_seen(clip: PageClip) -> np.ndarray:
    """The pose [T,214] of a clip, NaN where it was not seen."""
    return np.where(clip.seen, clip.pose, np.nan).astype(np.float64)


def _rows(clip: PageClip, view: figure.View, face_scale: np.ndarray) -> tuple[np.ndarray, dict, dict[str, float]]:
    """The rows of a clip that the page draws, [rows,T] in packing steps: keypoints, face numbers, the two energies;
    then how the page frames the clip, and the clip's values of `MEASURES`."""
    pose = _as_seen(clip)
    drawn = figure.visible_points(pose, view.aspect)[:, DRAWN]
    step = max(KEYPOINT_STEP, float(np.nanmax(np.abs(drawn), initial=0.0)) / MAX_PACKED)  # larger for points far off
    filled = np.asarray(clip.pose, np.float64)
    energies, steps = [], []
    for energy in (hand_energy(filled, clip.seen), face_energy(filled, clip.seen, face_scale)):
        energy = np.concatenate([[np.nan], energy])  # of frame t: what moved since t - 1
        steps.append(float(np.nanmax(energy, initial=1e-9)) / MAX_PACKED)
        energies.append(energy / steps[-1])
    rows = [drawn.reshape(len(pose), -1).T / step, pose[:, layout.NMM].T / FACE_STEP, np.stack(energies)]
    facts = {
        "frames": len(pose),
        "x": view.centre[0],
        "y": view.centre[1],
        "half": view.half,
        "shoulders": view.shoulder_width,
        "headAt": view.head.tolist(),
        "hands": view.hands,
        "keypointStep": step,
        "energySteps": steps,
        "captions": clip.captions,
    }
    left, right, face = presence(np.isfinite(pose)).mean(0)
    own = {
        "frames": len(pose),
        "hand energy": _mean(energies[0]) * steps[0],
        "face energy": _mean(energies[1]) * steps[1],
        "left hand": left,
        "right hand": right,
        "face": face,
    }
    return np.concatenate(rows), facts, own


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _pack(rows: np.ndarray) -> str:
    """Rows [R,T] of steps as int16 in base64: differences in time, low bytes before high bytes, deflated."""
    steps = np.where(np.isfinite(rows), np.nan_to_num(rows).round().clip(-MAX_PACKED, MAX_PACKED), UNKNOWN)
    changes = np.diff(steps.astype(np.int16).astype(np.uint16), axis=1, prepend=np.uint16(0))
    planes = np.stack([changes & 255, changes >> 8]).astype(np.uint8).tobytes()
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(squeezer.compress(planes) + squeezer.flush()).decode()


def _number(value: float | None) -> float | None:
    """Six digits of a finite number; None for others."""
    return float(f"{value:.6g}") if value is not None and np.isfinite(value) else None


def _json(content: object) -> str:
    """JSON that may stand within a script element: no text of a user can end it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _drawing() -> dict:
    """What the page needs of the layout and of `figure` to draw as the pictures do."""
    start = layout.NMM.start
    return {
        "rows": {point: 2 * row for row, point in enumerate(DRAWN)},
        "faceRow": 2 * len(DRAWN),
        "energyRow": 2 * len(DRAWN) + layout.NMM_DIM,
        "features": {
            "aus": layout.FACIAL_AUS.start - start,
            "head": layout.HEAD_POSE.start - start,
            "gaze": layout.EYE_GAZE.start - start,
            "mouth": layout.MOUTH_SHAPE.start - start,
        },
        "lips": len(OUTER_LIP),
        "upperLip": OUTER_LIP.index(LIP_UPPER_OUTER),
        "lowerLip": OUTER_LIP.index(LIP_LOWER_OUTER),
        "bones": layout.BONES.body,
        "handBones": figure.HAND_BONES,
        "torso": figure.TORSO,
        "mouth": figure.MOUTH,
        "nose": layout.NOSE,
        "eyes": [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER],
        "eyePoints": [layout.LEFT_EYES, layout.RIGHT_EYES],
        "ears": [layout.LEFT_EAR, layout.RIGHT_EAR],
        "shoulders": layout.SHOULDERS,
        "arms": [
            [layout.LEFT_ELBOW, layout.LEFT_WRIST, layout.LEFT_HAND_KEYPOINTS.start + layout.HAND_ROOT],
            [layout.RIGHT_ELBOW, layout.RIGHT_WRIST, layout.RIGHT_HAND_KEYPOINTS.start + layout.HAND_ROOT],
        ],
        "mostGap": figure.MOST_GAP,
        "handStart": {name: place.start for name, place in layout.HAND_KEYPOINTS.items()},
        "handSize": layout.NUM_HAND,
        "fingers": {name: layout.FINGERS[name] for name in figure.FINGER_COLOURS},
        "palm": figure.PALM,
        "strip": figure.STRIP,
        "colours": {
            "ink": figure.INK,
            "body": figure.BODY_COLOUR,
            "skin": figure.SKIN,
            "lips": figure.LIPS,
            "hands": figure.HAND_COLOURS,
            "fingers": figure.FINGER_COLOURS,
        },
    }
