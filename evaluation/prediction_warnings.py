"""What misleads in the figures of generated clips: where they break the layout, or lack what the metrics measure."""

from collections.abc import Sequence

import numpy as np

from evaluation.clips import Clip, Reference
from poses import layout
from poses.geometry import OTHER_SHAPE, Facts, Geometry, differing, refusal
from poses.motion import keypoints_seen
from poses.odd_frames import repeated_frames
from poses.presence import HALF

OTHER_SPEED = 1.6  # times as many frames as the references, or as few: speech rates differ less
SAME_LENGTH = 2  # frames by which lengths of one factor may differ: converters round, and cut ends that show nothing
ENOUGH_CLIPS = 5  # so many clips do not agree by chance
OTHER_PLACE = 0.5  # shoulder widths from the references, in the median
ONE_HANDED = 0.3  # of the frames in which one hand is shown more than the other
OTHER_HAND = 0.5  # of one-handed clips that show the other hand: real takes do in 0.01, random ones in 0.17
RARELY = 0.5  # of the share of the reference's frames that show a number; a clip with less shows it rarely
FILLED = 0.1  # share of the frames of hands and body that may be filled in more than in the references
SHOWN = 0.9  # of the share of the references' frames that show a point of the body; real takes have 0.96 or more
ON_LINE, MOVED = 1e-6, 1e-5  # image units: float32 rounds by less than the first, and nobody is as still as the second


def warnings_on(clips: Sequence[Clip], references: Sequence[Reference]) -> list[str]:
    """Warnings for readers of the clips' figures: where clips break the layout, or lack what the metrics measure."""
    found = (
        _other_geometry(clips, references),
        _other_hand(clips, references),
        _other_speed(clips, references),
        _repeating(clips, references),
        _flickering(clips, references),
        _missing_body(clips, references),
        _missing_face(clips, references),
    )
    return [warning for warning in found if warning]


def _other_geometry(clips: Sequence[Clip], references: Sequence[Reference]) -> str | None:
    """Says that the clips do not follow the layout, or names the few that do not, though their references do."""
    facts = _facts(clips)
    ids = [reference.id for reference in references]
    real = _facts(references)
    return refusal(facts) or "; ".join(differing(ids, facts, real)) or _other_picture(facts, real)


def _other_picture(facts: Facts, real: Facts) -> str | None:
    """Says that the clips as a whole are larger, smaller, of other proportions or elsewhere than their references."""

    def median(values: np.ndarray) -> float:
        return float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else np.nan

    wide, high = (median(facts[name] / real[name]) for name in ("width", "height"))
    away = float(np.hypot(*map(median, ((facts["middle"] - real["middle"]) / real["width"][:, None]).T)))
    differences = [
        (max(wide, 1 / wide) >= OTHER_SHAPE, f"has shoulders {wide:.2f} times as wide as its reference's"),
        (high > 0 and max(high, 1 / high) >= OTHER_SHAPE, f"has its nose {high:.2f} times as high above the shoulders"),
        (away >= OTHER_PLACE, f"stands {away:.2f} shoulder widths beside its reference"),
    ]
    found = " and ".join(text for holds, text in differences if holds)
    return f"the median clip {found}: another crop or shape of the picture? Distances count that" if found else None


def _other_hand(clips: Sequence[Clip], references: Sequence[Reference]) -> str | None:
    """Says that one-handed clips show the other hand than their references: in poses of a mirrored video all points
    follow the layout, and only the references tell."""
    own, real = (np.array([np.subtract(*clip.present[:, :2].mean(0)) for clip in side]) for side in (clips, references))
    one_handed = (np.abs(own) > ONE_HANDED) & (np.abs(real) > ONE_HANDED)
    other = int((one_handed & (own * real < 0)).sum())
    if other < ENOUGH_CLIPS or other <= OTHER_HAND * one_handed.sum():
        return None
    return (
        f"{other} of {one_handed.sum()} clips that show mostly one hand show the other one than their references: "
        "poses of a mirrored video, or left and right exchanged?"
    )


def _facts(clips: Sequence[Clip]) -> Facts:
    measured = Geometry()
    for clip in clips:
        measured.add("", clip.pose, clip.seen)
    return measured.facts()


def _other_speed(clips: Sequence[Clip], references: Sequence[Reference]) -> str | None:
    """Says that the clips are so much longer or shorter than their references, or all by one factor, that their rate
    may be another one."""
    lengths = np.array([[len(clip.pose), len(real.pose)] for clip, real in zip(clips, references, strict=True)])
    own, real = lengths.T
    ratio, common = float(np.median(own / real)), own.sum() / real.sum()
    by_one_factor = (np.abs(own - common * real) <= SAME_LENGTH).all() and np.ptp(real) > 4 * SAME_LENGTH
    if len(clips) >= ENOUGH_CLIPS and by_one_factor and np.abs(own - real).max() > 2 * SAME_LENGTH:
        return f"every clip has {common:.2f} times its reference's frames: another rate? Motion is measured per frame"
    if max(ratio, 1 / ratio) < OTHER_SPEED:
        return None
    return (
        f"the median clip has {ratio:.2f} times its reference's frames: another rate, or lengths that do not fit? "
        "Motion is measured per frame"
    )


def _repeating(clips: Sequence[Clip], references: Sequence[Reference]) -> str | None:
    """Says that clips hold frames that repeat the one before, as padding does, and their references none."""
    repeated = np.array([[_repeats(clip), _repeats(real)] for clip, real in zip(clips, references, strict=True)])
    frames = np.where(repeated[:, 1] > 0, 0, repeated[:, 0])  # [N,2]: at the end, and before the end
    kinds = (
        "end with frames that repeat the one before, as padding does ({} in all); cut them off",
        "hold frames that equal the one before ({} in all): repeated by a converter, or standing still",
    )
    parts = []
    for kind, count in zip(kinds, frames.T, strict=True):
        if count.any():
            first = references[np.flatnonzero(count)[0]].id
            parts.append(f"{(count > 0).sum()} of {len(clips)} clips, such as '{first}', {kind.format(count.sum())}")
    return "; ".join(parts) or None


def _repeats(clip: Clip) -> tuple[int, int]:
    return repeated_frames(layout.frame_to_keypoints(clip.pose), layout.frame_to_keypoints(clip.seen)[..., 0])


def _flickering(clips: Sequence[Clip], references: Sequence[Reference]) -> str | None:
    """Says that many more frames are filled in than in the references: their motion and jerk are of straight lines."""
    own, real = (np.sum([_filled(clip) for clip in side], axis=0) for side in (clips, references))
    share, usual = (filled / max(shown, 1) for filled, shown in (own, real))
    if share < usual + FILLED:
        return None
    return (
        f"{100 * share:.0f} % of the frames of hands and body (in the references {100 * usual:.0f} %) lie on the line "
        "between their neighbours, as frames do that are absent and filled in: do the clips flicker, or were they "
        "stretched? Jerk and motion are those of the filled path, and trembling does not show"
    )


def _filled(clip: Clip) -> tuple[int, int]:
    """How many frames of the body and of each hand look filled in, and how many show the part at all. In a frame that
    looks filled in, most moving points lie midway between both neighbours.

    The numbers decide, since clips of some sources, such as a data set's, were filled before they are read.
    """
    if len(clip.pose) < 3:
        return 0, 0
    points, seen = layout.frame_to_keypoints(np.asarray(clip.pose, np.float64)), keypoints_seen(clip.seen)
    seen = seen[:-2] & seen[1:-1] & seen[2:]
    straight = np.abs(np.diff(points, 2, axis=0)).max(-1) <= ON_LINE
    straight &= seen & (np.abs(points[2:] - points[:-2]).max(-1) > MOVED)
    parts = (layout.BODY_KEYPOINTS, *layout.HAND_KEYPOINTS.values())
    shown, on_line = (np.stack([mask[:, part].sum(1) for part in parts]) for mask in (seen, straight))
    return int(((shown > 0) & (on_line >= HALF * shown)).sum()), int((shown > 0).sum())


def _missing_body(clips: Sequence[Clip], references: Sequence[Reference]) -> str | None:
    """Says that clips never or rarely show points of the body that their references show, or that all clips together
    show a point in fewer frames than the references: distances leave such points out."""
    above_legs = slice(0, 2 * layout.LEFT_HIP)
    lacking = [
        real.id for clip, real in zip(clips, references, strict=True) if _rarely_shows(clip, real, above_legs).any()
    ]
    if lacking:
        return (
            f"{len(lacking)} of {len(clips)} clips, such as '{lacking[0]}', never or rarely show points of the body "
            "that their references show; distances leave these out, so they are of fewer points than those of other "
            "systems"
        )
    own, usual = (np.sum([clip.seen[:, above_legs].mean(0) for clip in side], axis=0) for side in (clips, references))
    share = np.divide(own, usual, out=np.ones_like(own), where=usual > 0).min()
    if share >= SHOWN:
        return None
    return (
        f"a point of the body is shown in {100 * share:.0f} % of the frames in which the references show it; "
        "distances leave it out elsewhere, which makes them smaller where it is hard"
    )


def _missing_face(clips: Sequence[Clip], references: Sequence[Reference]) -> str | None:
    """Says that clips never or rarely show features of the face that their references do: distances take zeros."""
    lacking = {
        real.id: [name for name, place in layout.NMM_SLICES.items() if _rarely_shows(clip, real, place).any()]
        for clip, real in zip(clips, references, strict=True)
    }
    ids = [clip_id for clip_id, names in lacking.items() if names]
    if not ids:
        return None
    named = ", ".join(name for name in layout.NMM_SLICES if any(name in names for names in lacking.values()))
    return (
        f"{len(ids)} of {len(clips)} clips, such as '{ids[0]}', never or rarely show features of the face that their "
        f"references do ({named}); distances take zeros for them"
    )


def _rarely_shows(clip: Clip, real: Reference, numbers: slice) -> np.ndarray:
    """Which of these numbers of a frame the clip shows in less than half of the share of frames that its reference
    does."""
    return clip.seen[:, numbers].mean(0) < RARELY * real.seen[:, numbers].mean(0)
