"""What the keypoints of a data set show of their units, axes and sides: measured per clip, judged over all clips.

An odd number of one clip may have many causes. But if the nose of most signers is below their shoulders, y points
upwards: such a data set does not follow the layout, and would be learnt wrongly without any error.
"""

import numpy as np

from poses import layout
from poses.motion import mean_where

REFUSED_SHARE = 1 / 3  # of the clips that can tell: where more of them contradict the layout, the data set is refused
CONTRADICTS = 0.9  # of a clip's frames
MARGIN = 0.05  # image units by which a nose or shoulders may lie outside the picture
APART = 0.25  # shoulder widths by which a hand must be nearer to one wrist to tell on which arm it is
FRONTAL = 0.5  # in a frontal view, shoulders are apart by at least this share of the nose's height above them
NEAR = 0.5  # shoulder widths from a hand's root to a wrist that it may hang on
LOOSE = 1.5  # shoulder widths from a hand to its own wrist: farther off, it hangs on no arm
JUMP = 1.0  # shoulder widths that nobody moves in one frame
NARROWEST = 0.02  # image units: no picture of a signer has narrower shoulders
MIN_FRAMES = 5  # that tell on which arm a hand is
ANOTHER_SIZE = 2.5  # a clip whose shoulders are so many times as wide or narrow as the median differs from the rest
FULL_TURN = 2 * np.pi  # radians: no head turns so far, so a larger angle is in degrees
ANOTHER_SCALE = 20  # times the median clip's largest NMM of a feature
# Times the median clip's level of each feature, or a part of it (real clips: 1.7, 6, 4.2 and 1.7 times at most).
OTHER_LEVELS = {"facial_aus": 2.5, "head_pose": 20.0, "eye_gaze": 10.0, "mouth_shape": 2.5}
TURNED_AWAY = 1.5  # radians, root mean square of a head's three angles: the mean of real clips is 0.5 at most
FAR = 3.5  # image units from the middle of the picture; MediaPipe guesses legs at up to 2.5
FAR_ABOVE_LEGS = 2.0  # the same for keypoints above the legs, which MediaPipe guesses at up to 1.1
ANOTHER_PACE = 1.5  # times as far per frame as in train: real splits differ by 1.2 at most, other rates by 1.7 or more
OTHER_SHAPE = 1.3  # times as wide or as high, in the median: signers and cameras differ less (real splits: 1.16)
LARGEST_FACE = 6.0  # distances of the outer eye corners, or widths of an eye: real clips reach 0.9, intensities 5
ENOUGH_CLIPS = 5  # to compare how two splits move
CERTAIN = 3.0  # standard errors from which a mean differs from 0 by more than chance
FEWER = 0.1  # of the frames in which another split shows a part: so few mean another tool, not other signing
NAMED = 20  # clips of each kind that a message names
FRAMES_AT_ONCE = 2048

_ROOTS = {side: hand.start + layout.HAND_ROOT for side, hand in layout.HAND_KEYPOINTS.items()}
_KNUCKLES = {side: hand.start + layout.FINGERS["middle"][0] for side, hand in layout.HAND_KEYPOINTS.items()}
_NEEDED = max(_KNUCKLES.values()) + 1  # keypoints up to the last of them
_HEAD_POSE = list(layout.NMM_SLICES).index("head_pose")
_PARTS = {
    "body": slice(0, layout.keypoint_dims(np.array([layout.RIGHT_HIP]))[-1] + 1),  # without the legs
    "left hand": layout.LEFT_HAND,
    "right hand": layout.RIGHT_HAND,
    **layout.NMM_SLICES,
}


Facts = dict[str, np.ndarray]


class Geometry:
    """The facts of clips that are added one by one; memory grows by some thirty numbers per clip."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._frames = 0
        self._measured: list[Facts] = []

    def add(self, clip_id: str, pose: np.ndarray, seen: np.ndarray) -> None:
        """pose [T,214] in image units, seen [T,214] bool."""
        self.ids.append(clip_id)
        self._waiting.append((pose, seen))
        self._frames += len(pose)
        if self._frames >= FRAMES_AT_ONCE:
            self._measure()

    def facts(self) -> Facts:
        """The facts of all clips by name, as `measure` gives them."""
        if self._waiting:
            self._measure()
        return {name: np.concatenate([part[name] for part in self._measured]) for name in self._measured[0]}

    def _measure(self) -> None:
        poses, seens = zip(*self._waiting, strict=True)
        starts = np.cumsum([0, *map(len, poses[:-1])])
        self._measured.append(measure(np.concatenate(poses), np.concatenate(seens), starts))
        self._waiting, self._frames = [], 0


def measure(pose: np.ndarray, seen: np.ndarray, starts: np.ndarray) -> Facts:
    """The facts of clips that follow one another in pose and seen [F,214]; clip n begins at frame starts[n].

    A fact is [clips], NaN where a clip does not show it. `_body`, `hands_on_arms`, `_palms`, `_steps` and `_extent`
    define them.
    """
    points = layout.frame_to_keypoints(pose)[:, :_NEEDED]
    known = layout.frame_to_keypoints(seen)[:, :_NEEDED, 0]  # x and y are seen together
    body = _body(points, known, starts)
    lengths = np.diff([*starts, len(pose)])
    unit = np.repeat(body["width"], lengths)  # of each frame
    size = unit * np.repeat(np.fmax(1.0, body["height"]), lengths)  # from the side, shoulders look narrow
    hands = hands_on_arms(points, known, unit, starts) | _palms(points, known, size, starts)
    return body | hands | _steps(points, known, unit, starts) | _extent(pose, seen, starts)


def _body(points: np.ndarray, known: np.ndarray, starts: np.ndarray) -> Facts:
    """How shoulders and nose lie, of points [F,P,2], known [F,P].

    width: from shoulder to shoulder, image units. middle [clips,2]: the point between them, image units. height: of the
    nose above the shoulders, shoulder widths. outside: how far nose or shoulders lie outside the picture, image units.
    off centre: distance of the shoulders' middle from (0, 0), shoulder widths. below, lying, reversed: shares of the
    frames in which the nose is below the shoulders; in which the shoulders are above one another and the nose beside
    them; in which the signer's left shoulder is at the left of the picture.
    """
    points, known = with_noses(points, known)
    left, right, nose = points[:, layout.LEFT_SHOULDER], points[:, layout.RIGHT_SHOULDER], points[:, layout.NOSE]
    middle = (left + right) / 2
    both = known[:, layout.LEFT_SHOULDER] & known[:, layout.RIGHT_SHOULDER]
    head = both & known[:, layout.NOSE]
    across, up = left - right, middle[:, 1] - nose[:, 1]
    frontal = head & (np.abs(across[:, 0]) > FRONTAL * np.abs(up))  # from the side either shoulder may be the left one
    width, middle_x, middle_y, *places, height, below, lying, reverse = _means(
        [np.hypot(*across.T), *middle.T, *left.T, *right.T, *nose.T, up, up < 0, lies(points), across[:, 0] < 0],
        [both] * 3 + [head] * 9 + [frontal],
        starts,
    )
    width = np.where(width > 0, width, np.nan)
    return {
        "width": width,
        "middle": np.stack([middle_x, middle_y], axis=1),
        "height": height / width,
        "outside": np.abs(np.array(places) - 0.5).max(0) - 0.5,
        "off centre": np.maximum(np.abs(middle_x), np.abs(middle_y)) / width,
        "below": below,
        "lying": lying,
        "reversed": reverse,
    }


def with_noses(points: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [F,P,2] and known [F,P] in which the middle of eyes, ears and mouth stands in for an unknown nose.

    If coordinates are relative to the nose, the nose itself lies at (0, 0), which means unseen.
    """
    others = known[:, layout.HEAD_KEYPOINTS]
    lacking = ~known[:, layout.NOSE] & others.any(1)
    if not lacking.any():
        return points, known
    points, known = points.copy(), known.copy()
    heads = np.where(others[lacking][..., None], points[lacking][:, layout.HEAD_KEYPOINTS], np.nan)
    points[lacking, layout.NOSE] = np.nanmean(heads, axis=1)
    known[lacking, layout.NOSE] = True
    return points, known


def lies(points: np.ndarray) -> np.ndarray:
    """In which frames of points [F,P,2] the shoulders are above one another and the nose is beside them, [F] bool.

    Of a signer who sits or stands, shoulders are side by side and the nose above them, whatever the picture's shape.
    """
    left, right, nose = points[:, layout.LEFT_SHOULDER], points[:, layout.RIGHT_SHOULDER], points[:, layout.NOSE]
    across, to_nose = np.abs(left - right), np.abs((left + right) / 2 - nose)
    return (across[:, 1] > across[:, 0]) & (to_nose[:, 0] > to_nose[:, 1])


def hands_on_arms(points: np.ndarray, known: np.ndarray, unit: np.ndarray, starts: np.ndarray) -> Facts:
    """On which arm each hand hangs, of points [F,P,2], known [F,P]; unit [F]: the width of the clip's shoulders.

    left wrist, right wrist: from a hand's root, or else its middle knuckle, to its own wrist, shoulder widths.
    exchanged: the share of the hands whose root is nearer to the other hand's wrist.
    """
    wrists = {"left": layout.LEFT_WRIST, "right": layout.RIGHT_WRIST}
    num_judged = num_exchanged = np.zeros(len(starts))
    distances, hangs = [], []
    for hand, other in (("left", "right"), ("right", "left")):
        # Where one wrist is unseen, the hand may still hang on the other.
        own, foreign = (
            np.where(known[:, wrist], np.hypot(*(points[:, _ROOTS[hand]] - points[:, wrist]).T) / unit, 1.0)
            for wrist in (wrists[hand], wrists[other])
        )
        root, knuckle = known[:, _ROOTS[hand]], known[:, _KNUCKLES[hand]]
        judged = root & (np.abs(own - foreign) > APART) & (np.minimum(own, foreign) < NEAR)
        num_judged = num_judged + np.add.reduceat(judged, starts, dtype=int)
        num_exchanged = num_exchanged + np.add.reduceat(judged & (own > foreign), starts, dtype=int)
        place = np.where(root[:, None], points[:, _ROOTS[hand]], points[:, _KNUCKLES[hand]])
        distances.append(np.hypot(*(place - points[:, wrists[hand]]).T) / unit)
        hangs.append((root | knuckle) & known[:, wrists[hand]] & np.isfinite(unit))
    left, right = _means(distances, hangs, starts)
    exchanged = np.where(num_judged >= MIN_FRAMES, num_exchanged / np.maximum(num_judged, 1), np.nan)
    return {"left wrist": left, "right wrist": right, "exchanged": exchanged}


def _palms(points: np.ndarray, known: np.ndarray, unit: np.ndarray, starts: np.ndarray) -> Facts:
    """large: the share of the frames in which a hand's palm, from its root to its middle knuckle, is longer than `unit`
    [F]; the smaller share of the two hands. points [F,P,2], known [F,P]."""
    larger, shown = [], []
    for root, knuckle in zip(_ROOTS.values(), _KNUCKLES.values(), strict=True):
        larger.append(np.hypot(*(points[:, root] - points[:, knuckle]).T) > unit)
        shown.append(known[:, root] & known[:, knuckle] & np.isfinite(unit))
    return {"large": np.fmin(*_means(larger, shown, starts))}


def _steps(points: np.ndarray, known: np.ndarray, unit: np.ndarray, starts: np.ndarray) -> Facts:
    """left step, right step: how far a wrist goes from one frame to the next, shoulder widths, of points [F,P,2], known
    [F,P]; unit [F]. jumps: how often the shoulders' middle goes farther than anybody moves."""
    within = np.isfinite(unit)
    within[starts] = False  # the frame before it is of another clip
    steps, shown = [], []
    for wrist in (layout.LEFT_WRIST, layout.RIGHT_WRIST):
        steps.append(np.hypot(*np.diff(points[:, wrist], axis=0, prepend=points[:1, wrist]).T) / unit)
        shown.append(within & known[:, wrist] & np.roll(known[:, wrist], 1))
    left, right = _means(steps, shown, starts)
    middle, both = points[:, layout.SHOULDERS].mean(1), known[:, layout.SHOULDERS].all(1)
    far = np.hypot(*np.diff(middle, axis=0, prepend=middle[:1]).T) > JUMP * unit
    jumps = np.add.reduceat(far & within & both & np.roll(both, 1), starts, dtype=int)
    return {"left step": left, "right step": right, "jumps": jumps}


def _extent(pose: np.ndarray, seen: np.ndarray, starts: np.ndarray) -> Facts:
    """The range of a clip's numbers, and how much was seen of each of _PARTS.

    nmm, level [clips,4]: of each feature the largest number, and a frame's root mean square on average. astray: how far
    a keypoint above the legs is from the middle of the picture, image units. low, high [clips,2]: least and greatest x
    and y. All frames count, since unseen numbers are interpolated between seen ones.
    """
    lengths = np.diff([*starts, len(pose)])
    count = np.add.reduceat(seen, starts, axis=0, dtype=np.int32)  # [clips,214]
    ever = layout.frame_to_keypoints(count > 0)
    clips = np.split(pose, starts[1:])
    least, largest = (np.stack([end(clip, axis=0) for clip in clips]) for end in (np.min, np.max))  # [clips,214]
    low, high = (layout.frame_to_keypoints(end) for end in (least, largest))
    above_legs = ever.copy()
    above_legs[:, layout.RIGHT_HIP + 1 : layout.NUM_BODY] = False
    nmm = np.maximum(largest, -least)
    features = [(pose[:, feature], seen[:, feature]) for feature in layout.NMM_SLICES.values()]
    levels = [np.sqrt(mean_where(values.astype(np.float64) ** 2, shown, axis=1)) for values, shown in features]
    return {
        "nmm": np.stack([nmm[:, feature].max(1) for feature in layout.NMM_SLICES.values()], axis=1),
        "level": _means([*map(np.nan_to_num, levels)], [shown.any(1) for _, shown in features], starts).T,
        "astray": np.where(above_legs, np.maximum(high - 0.5, 0.5 - low), 0.0).max((1, 2)),
        "low": np.where(ever, low, np.inf).min(1),
        "high": np.where(ever, high, -np.inf).max(1),
        **{name: count[:, numbers].mean(1) / lengths for name, numbers in _PARTS.items()},
    }


def _means(values: list[np.ndarray], where: list[np.ndarray], starts: np.ndarray) -> np.ndarray:
    """The mean of each of `values` [F] over the frames of each clip in which its mask in `where` [F] holds,
    [len(values), clips]; NaN if it holds in no frame."""
    holds = np.stack(where)
    total = np.add.reduceat(np.where(holds, np.stack(values), 0.0), starts, axis=1)
    count = np.add.reduceat(holds, starts, axis=1, dtype=np.float64)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def contradictions(facts: Facts) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Contradictions of the layout, each with the clips that show it and those that can be judged, [clips] bool."""
    loose = np.fmax(facts["left wrist"], facts["right wrist"])
    shown = {  # a wrong order of points comes first: the later checks would misread such a body
        "large": (facts["large"] >= CONTRADICTS, facts["large"]),
        "outside": (facts["outside"] > MARGIN, facts["outside"]),
        "lying": (facts["lying"] >= CONTRADICTS, facts["lying"]),
        "below": (facts["below"] >= CONTRADICTS, facts["below"]),
        "reversed": (facts["reversed"] >= CONTRADICTS, facts["reversed"]),
        "exchanged": (facts["exchanged"] >= CONTRADICTS, facts["exchanged"]),
        "loose": (loose > LOOSE, loose),
        "narrow": (facts["width"] < NARROWEST, facts["width"]),
        "degrees": (facts["nmm"][:, _HEAD_POSE] > FULL_TURN, facts["nmm"][:, _HEAD_POSE]),
    }
    return {name: (shows, np.isfinite(fact)) for name, (shows, fact) in shown.items()}


def refusal(facts: Facts) -> str | None:
    """Why the clips of a data set or a split cannot follow the layout, and what to do; None if they can.

    It needs three clips, or all of them if there are fewer.
    """
    for name, (shows, can_be_judged) in contradictions(facts).items():
        wrong, judged = int(shows.sum()), int(can_be_judged.sum())
        if wrong and wrong >= max(REFUSED_SHARE * judged, min(3, judged)):
            meaning, advice = _unit(facts, shows) if name == "outside" else _MEANINGS[name]
            return f"in {wrong} of {judged} clips {meaning}; {advice}"
    return None


_MEANINGS = {
    "lying": (
        "shoulders are above one another and the nose beside them, so x and y are exchanged or the picture is turned",
        "x runs across the picture and y down it: exchange them, or turn the keypoints upright",
    ),
    "below": ("the nose lies below the shoulders, so y points upwards", "y must point downwards: write 1 - y for y"),
    "reversed": (
        "the signer's left shoulder is at the left of the picture, so left and right are exchanged or it is mirrored",
        "left is the signer's left: write 1 - x for x, or exchange left and right in body and hands",
    ),
    "exchanged": (
        "the hands are at each other's wrists, so left and right hand are exchanged",
        "keypoints 33 to 53 are the signer's left hand, 54 to 74 the right one: exchange them",
    ),
    "large": (
        "a hand's palm is longer than the shoulders are wide, so hands are written in units of their own, or the order "
        "is another one",
        "all keypoints are in image units: bring each hand back to its size and its place in the picture; their order "
        "is body (0 to 32), left hand (33 to 53), right hand",
    ),
    "loose": (
        f"a hand is more than {LOOSE:g} shoulder widths from its own wrist, so hands are written relative to something",
        "all keypoints are in image units, from the picture's corner: add the wrist's place to the hand's",
    ),
    "narrow": (
        f"the shoulders are less than {NARROWEST:g} of the picture apart, so the unit is another one",
        "keypoints are in image units, 0 to 1 across the width and the height of the picture",
    ),
    "degrees": (
        "the head turns by more than a full turn, so 'head_pose' is in degrees",
        "its angles are in radians: multiply them by pi / 180",
    ),
}


def _unit(facts: Facts, clips: np.ndarray) -> tuple[str, str]:
    """The unit that keypoints outside the picture seem to have, and what to do."""
    width, off_centre = np.median(facts["width"][clips]), np.median(facts["off centre"][clips])
    wanted = "keypoints are in image units, 0 to 1 across the width and the height of the picture"
    if 0.8 < width < 1.25 and off_centre < 0.5:
        return "the shoulders' middle is at 0 and their distance 1, so the unit is the shoulder width", wanted
    advice = "from -1 to 1 write (x + 1) / 2 for x, and divide pixels by the width and the height"
    return "the nose or a shoulder lies outside the picture, so the unit is another one", f"{wanted}: {advice}"


def differing(ids: list[str], facts: Facts, real: Facts | None = None) -> list[str]:
    """A sentence for each kind of clip that differs from the rest of its data set, naming clips.

    real: the facts of the real clips, where these stand for them; a clip that differs as its real one does is not
    named.
    """
    odd_real = {} if real is None else _odd(real)
    sentences = []
    for kind, shows in _odd(facts).items():
        chosen = [ids[index] for index in np.flatnonzero(shows & ~odd_real.get(kind, np.False_))]
        if chosen:
            more = f" and {len(chosen) - NAMED} more" if len(chosen) > NAMED else ""
            sentences.append(f"{len(chosen)} of {len(ids)} clips {kind}: {', '.join(chosen[:NAMED])}{more}")
    return sentences


def other_parts(split: str, facts: Facts, train: Facts) -> list[str]:
    """Up to two sentences: on parts that train shows and the split hardly shows, and on parts for which it is the
    reverse."""
    mine, trains = ({name: part[name].mean() for name in _PARTS} for part in (facts, train))
    sentences = []
    for one, other, few, many in ((split, "train", mine, trains), ("train", split, trains, mine)):
        lacking = [
            f"{name} ({100 * few[name]:.0f} % of it, {100 * many[name]:.0f} % in {other})"
            for name in _PARTS
            if few[name] < FEWER * many[name] and many[name] >= FEWER
        ]
        if lacking:
            sentences.append(f"{one} hardly shows what {other} does: {', '.join(lacking)}; was it made in another way?")
    return sentences


def other_pace(split: str, facts: Facts, train: Facts) -> list[str]:
    """A sentence on a split whose hands go much farther or less far per frame than train's."""
    moving = _moving(facts, train)
    if not moving:
        return []
    pace = moving[0].sum(0).mean() / moving[1].sum(0).mean()
    if max(pace, 1 / pace) < ANOTHER_PACE:
        return []
    return [
        f"hands of {split} go {pace:.2f} times as far from frame to frame as those of train: another rate of frames, "
        "or other signing? Motion is learnt and measured per frame"
    ]


def other_shape(split: str, facts: Facts, train: Facts) -> list[str]:
    """A sentence on a split whose people are longer or shorter than train's."""
    mine, trains = (part["height"][part["height"] > 0] for part in (facts, train))  # NaN is not above 0
    if min(len(mine), len(trains)) < ENOUGH_CLIPS:
        return []
    longer = float(np.median(mine) / np.median(trains))
    if max(longer, 1 / longer) < OTHER_SHAPE:
        return []
    return [
        f"people of {split} are {longer:.2f} times as long as those of train, for their width: pictures of another "
        "shape? x and y are 0 to 1 of the picture, so all should have one"
    ]


def other_side(split: str, facts: Facts, train: Facts) -> list[str]:
    """Sentences on a split whose other hand moves more than train's, or is seen more."""
    moving = _moving(facts, train)
    if not moving:
        return []
    sentences = []
    leads = {  # of each clip, above 0 where the right hand leads
        "moves more": [(steps[1] - steps[0]) / steps.sum(0) for steps in moving],
        "is seen more": [part["right hand"] - part["left hand"] for part in (facts, train)],
    }
    for what, (mine, trains) in leads.items():
        if _certain_sign(mine) * _certain_sign(trains) < 0:
            side, other = ("right", "left") if mine.mean() > 0 else ("left", "right")
            sentences.append(
                f"the {side} hand {what} in {split}, the {other} hand in train: videos that were mirrored, or signers "
                "who are left-handed?"
            )
    return sentences


def _moving(facts: Facts, train: Facts) -> list[np.ndarray]:
    """How far both wrists go in the clips of a split and of train that show it, [2,clips] each; [] if few do."""
    both = [np.array([part["left step"], part["right step"]]) for part in (facts, train)]
    moving = [steps[:, np.isfinite(steps).all(0) & (steps.sum(0) > 0)] for steps in both]
    return moving if min(steps.shape[1] for steps in moving) >= ENOUGH_CLIPS else []


def _certain_sign(values: np.ndarray) -> float:
    """1 or -1 as the mean of values [clips] is above or below 0 by no chance, else 0."""
    mean, error = values.mean(), values.std() / np.sqrt(len(values))
    return float(np.sign(mean)) if abs(mean) > CERTAIN * error else 0.0


def face_units(facts: Facts) -> list[str]:
    """A sentence on each feature of the face that reaches far beyond the unit of the layout in the median clip."""
    sentences = []
    for name, largest in zip(layout.NMM_SLICES, facts["nmm"].T, strict=True):
        measured = largest[largest > 0]
        if name != "head_pose" and len(measured) and (usual := float(np.median(measured))) > LARGEST_FACE:
            sentences.append(
                f"{name} reaches {usual:.4g} in the median clip, where parts of a face are at most about 1 distance of "
                "the outer eye corners: is it in another unit? DTW and MSE count it beside keypoints from 0 to 1"
            )
    return sentences


def _odd(facts: Facts) -> dict[str, np.ndarray]:
    """Which clips differ from the rest, [clips] bool, by the way in which they differ."""
    contradicts = {name: shows for name, (shows, _) in contradictions(facts).items()}
    usual = np.median(facts["nmm"], axis=0)
    far = (facts["low"] < 0.5 - FAR) | (facts["high"] > 0.5 + FAR)  # [clips,2]
    large = (facts["nmm"] > ANOTHER_SCALE * usual) & (usual > 0)  # [clips,4]
    turned = facts["level"][:, _HEAD_POSE] > TURNED_AWAY
    usual_heads = ~(turned | contradicts["degrees"])
    other_levels = {
        f"have {name} {limit:g} times as large or small as most": _far_from_median(level, limit) & usual_heads
        for (name, limit), level in zip(OTHER_LEVELS.items(), facts["level"].T, strict=True)
    }
    return {
        "have their nose or a shoulder outside the picture": contradicts["outside"],
        "lie on their side": contradicts["lying"],
        "have the nose below the shoulders": contradicts["below"] & ~contradicts["lying"],
        "have the signer's left shoulder at the left of the picture": contradicts["reversed"],
        "have the hands at each other's wrists": contradicts["exchanged"],
        "have a hand whose palm is longer than the shoulders are wide": contradicts["large"],
        "have a hand far from its own wrist": contradicts["loose"],
        f"are {ANOTHER_SIZE:g} times as wide or narrow at the shoulders as most": _far_from_median(
            facts["width"], ANOTHER_SIZE
        ),
        "have a body that jumps by more than a shoulder width, to another person or over a cut": facts["jumps"] > 0,
        "have keypoints far outside the picture": (facts["astray"] > FAR_ABOVE_LEGS) | far.any(1),
        "have a head that turns by more than a full turn, as in degrees": contradicts["degrees"],
        "have a head that is turned away throughout, as in degrees or from another zero": turned
        & ~contradicts["degrees"],
        **other_levels,
        f"have NMMs {ANOTHER_SCALE} times as large as most": large.any(1)
        & usual_heads
        & ~np.any([*other_levels.values()], axis=0),
    }


def _far_from_median(values: np.ndarray, limit: float) -> np.ndarray:
    """Which values [clips] differ from their median by more than the factor `limit`, [clips] bool; NaN does not."""
    if not np.isfinite(values).any():
        return np.zeros(values.shape, bool)
    median = np.nanmedian(values)
    return (values > limit * median) | (limit * values < median)


def report(facts: Facts) -> list[str]:
    """The facts as lines: the median clip, and the range over all clips."""

    def spread(name: str, unit: str) -> str:
        values = facts[name][np.isfinite(facts[name])]
        if not len(values):
            return "not seen"
        return f"{np.median(values):.2f} {unit} ({values.min():.2f} to {values.max():.2f})"

    exchanged = facts["exchanged"][np.isfinite(facts["exchanged"])]
    exchanged = f"in {100 * exchanged.mean():.0f} % of the frames" if len(exchanged) else "not seen"
    low, high = np.median(facts["low"], axis=0), np.median(facts["high"], axis=0)
    ends = [facts["low"].min(0), facts["high"].max(0)]
    seen = ", ".join(f"{name} {100 * facts[name].mean():.0f} %" for name in _PARTS)
    return [
        f"shoulder width: {spread('width', 'image units')}",
        f"nose above the shoulders: {spread('height', 'shoulder widths')}",
        f"left hand from its own wrist: {spread('left wrist', 'shoulder widths')}",
        f"right hand from its own wrist: {spread('right wrist', 'shoulder widths')}",
        f"hands at each other's wrists: {exchanged}",
        *(
            f"{axis} from {low[k]:.2f} to {high[k]:.2f} in the median clip ({ends[0][k]:.2f} to {ends[1][k]:.2f})"
            for k, axis in enumerate("xy")
        ),
        f"seen: {seen}",
    ]
