"""A frame of a pose as a picture: a figure, its face drawn from the NMM features, and below it the hands, enlarged.

The view is chosen once for the clips that are shown together (around the shoulders, and as wide as the hands need),
never per frame, so that trembling and drift stay visible; only the enlarged hands follow the hand. What was not seen
(zeros, NaN) is not drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from poses import layout
from poses.face import BROW_END, EYE_MIDDLE, LEAST_MOUTH, chin_below_eyes, mouth_below_eyes, turned
from poses.layout import ActionUnit
from poses.presence import shown_keypoints

INK, BODY_COLOUR, SKIN, LIPS, FRAME = (35, 38, 43), (96, 104, 116), (246, 240, 234), (196, 92, 88), (218, 221, 226)
TORSO_FILL, PALM_FILL, EYE_WHITE = (247, 248, 250), (236, 231, 226), (255, 255, 255)
NOSE_LINE, LIP_EDGE, MOUTH_INSIDE = (176, 164, 152), (150, 60, 58), (70, 24, 26)
HAND_BONES = {"left": layout.BONES.left_hand, "right": layout.BONES.right_hand}
HAND_COLOURS = {"left": (38, 100, 168), "right": (200, 82, 36)}
FINGER_COLOURS = {  # they tell crossing fingers apart; the thumb is drawn last, on top
    "little": (204, 50, 56),
    "ring": (128, 78, 168),
    "middle": (34, 136, 66),
    "index": (31, 104, 180),
    "thumb": (214, 126, 20),
}
COLOURS = [
    *(INK, BODY_COLOUR, SKIN, LIPS, FRAME, TORSO_FILL, PALM_FILL, NOSE_LINE, LIP_EDGE, MOUTH_INSIDE),
    *HAND_COLOURS.values(),
    *FINGER_COLOURS.values(),
]
PALM = [*layout.PALM, layout.PALM[0]]
MOUTH = [layout.LEFT_MOUTH, layout.RIGHT_MOUTH]
TORSO = [layout.LEFT_SHOULDER, layout.RIGHT_SHOULDER, layout.RIGHT_HIP, layout.LEFT_HIP]
VIEW_HALF, REACH = 1.4, 3.0  # shoulder widths that a view shows to each side of the shoulders: usually, and at most
FOREHEAD = 0.3  # shoulder widths that a head rises above its eyes
MOST_GAP = 0.4  # shoulder widths from wrist to hand that a picture bridges; a longer gap is a fault of the clip
STRIP = 0.62  # height of the strip of enlarged hands, in panel widths


@dataclass(frozen=True)
class View:
    """What a panel shows: a square around `centre` (x, y), `half` to each side; `hands`: half the side of each hand's
    zoom window; `head`: where the head is expected; all in image heights. `aspect` is the width of the recorded image
    over its height."""

    centre: np.ndarray
    half: float
    shoulder_width: float
    head: np.ndarray
    hands: dict[str, float]
    aspect: float


def fit_views(poses: Sequence[np.ndarray], aspect: float = 1.0) -> list[View]:
    """The views of clips [T,214] that are shown together: each around its median shoulders, all of one size in shoulder
    widths.

    They show VIEW_HALF to each side, or more, up to REACH, if the hands or the head of any clip need it: shoulders are
    narrow where a signer turns, or a wide recording is drawn as a square. `hands` are those that a clip shows in 10 %
    of its frames.
    """
    views, reached = [], [np.zeros((1, 2))]  # points of hands and heads, in shoulder widths from their clip's centre
    for pose in poses:
        points = visible_points(pose, aspect)
        shoulders = points[:, layout.SHOULDERS]
        shoulders = shoulders[np.isfinite(shoulders).all((1, 2))]
        width = float(np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1))) if len(shoulders) else 0.0
        if width > 0.02:
            centre = np.median(shoulders.mean(1), axis=0) + np.array([0.0, 0.12 * width])
        else:
            centre, width = np.array([aspect / 2, 0.5]), 0.36
        eyes = points[:, [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]].reshape(-1, 2)
        reached.append((eyes[np.isfinite(eyes).all(1)] - centre) / width - np.array([0.0, FOREHEAD]))
        hand_points, hands = [], {}
        for hand, place in layout.HAND_KEYPOINTS.items():
            seen = points[:, place][np.isfinite(points[:, place]).all((1, 2))]
            hand_points.append((seen.reshape(-1, 2) - centre) / width)
            if len(seen) >= max(1, 0.1 * len(pose)):
                extent = (seen.max(1) - seen.min(1)).max(1)
                hands[hand] = 0.56 * float(np.percentile(extent, 92)) + 0.02 * width
        reached.append(np.concatenate(hand_points))
        views.append(View(centre, VIEW_HALF * width, width, centre - [0.0, 0.85 * width], hands, aspect))
    ends = np.stack([np.percentile(part, [2, 98], axis=0) for part in reached if len(part)])  # [parts,2,2]
    first, last = ends[:, 0].min(0).clip(-REACH, -VIEW_HALF), ends[:, 1].max(0).clip(VIEW_HALF, REACH)
    shift, half = (first + last) / 2, float((last - first).max()) / 2  # shoulder widths
    return [
        replace(view, centre=view.centre + shift * view.shoulder_width, half=half * view.shoulder_width)
        for view in views
    ]


def draw_frame(frame: np.ndarray, view: View, width: int = 400, smoothing: int = 2) -> Image.Image:
    """Draw one frame [214]: the figure, `width` pixels square, above a strip with the enlarged hands.

    It is drawn `smoothing` times as large and reduced, which softens the edges.
    """
    size, strip = width * smoothing, round(width * STRIP) * smoothing
    points = visible_points(frame[None], view.aspect)[0]
    image = Image.new("RGB", (size, size + strip), "white")
    figure = Image.new("RGB", (size, size), "white")
    scale = size / (2 * view.half)
    pen = _Pen(ImageDraw.Draw(figure), lambda at: (at - view.centre + view.half) * scale)
    unit = view.shoulder_width * scale  # pixels
    _draw_body(pen, points, frame, view, unit)
    for hand, bones in HAND_BONES.items():
        for a, b in bones:
            pen.line(points[[a, b]], HAND_COLOURS[hand], 0.028 * unit)
    image.paste(figure, (0, 0))
    side = strip if len(view.hands) == 1 else min(strip, size // 2)
    lefts = [(size - side) // 2] if len(view.hands) == 1 else [size - side, 0]  # left hand, right hand
    for (hand, half), left in zip(view.hands.items(), lefts, strict=False):
        image.paste(_draw_hand(points[layout.HAND_KEYPOINTS[hand]], half, side, HAND_COLOURS[hand]), (left, size))
    return image.reduce(smoothing)


@dataclass(frozen=True)
class _Pen:
    """Draws on `ink`; `place` turns the coordinates that it is given into pixels."""

    ink: ImageDraw.ImageDraw
    place: Callable[[np.ndarray], np.ndarray]  # points [...,2] → pixels [...,2]

    def line(self, points: np.ndarray, colour: tuple[int, int, int], thickness: float) -> None:
        """A line with round ends through points [N,2]; nothing where one of them is unseen."""
        if np.isfinite(points).all():
            pixels = [tuple(at) for at in self.place(points).clip(-9999, 9999)]
            self.ink.line(pixels, colour, max(1, round(thickness)), joint="curve")
            for at in (pixels[0], pixels[-1]):
                self.ink.circle(at, thickness / 2, colour)

    def polygon(
        self,
        points: np.ndarray,
        fill: tuple[int, int, int],
        outline: tuple[int, int, int] | None = None,
        thickness: float = 1,
    ) -> None:
        """A filled outline through points [N,2]."""
        pixels = [tuple(at) for at in self.place(points).clip(-9999, 9999)]
        self.ink.polygon(pixels, fill)
        if outline:
            self.ink.line([*pixels, *pixels[:2]], outline, max(1, round(thickness)), joint="curve")


def visible_points(pose: np.ndarray, aspect: float) -> np.ndarray:
    """Keypoints [T,75,2] of a pose [T,214] in image heights; NaN for what was not seen."""
    points = layout.frame_to_keypoints(np.asarray(pose, dtype=np.float64)).copy()
    points[~shown_keypoints(points)] = np.nan
    for place in layout.HAND_KEYPOINTS.values():
        hand = points[:, place]
        hand[~np.isfinite(hand).all((1, 2))] = np.nan
    return points * [aspect, 1.0]


def _draw_body(pen: _Pen, points: np.ndarray, frame: np.ndarray, view: View, unit: float) -> None:
    """Torso, arms and face; `points` [75,2] seen or NaN, `unit` the shoulder width in pixels."""
    neck = points[layout.SHOULDERS].mean(0)
    if np.isfinite(points[TORSO]).all():
        pen.polygon(points[TORSO], TORSO_FILL)
    chin = points[MOUTH].mean(0) if np.isfinite(points[MOUTH]).all() else points[layout.NOSE]
    pen.line(np.stack([neck, (neck + 2 * chin) / 3]), BODY_COLOUR, 0.045 * unit)
    head = _draw_face(pen, points, frame, view) or _draw_head(pen, points, view)
    for a, b in layout.BONES.body:
        if min(a, b) >= layout.LEFT_SHOULDER or not head:
            pen.line(points[[a, b]], BODY_COLOUR, (0.045 if min(a, b) >= layout.LEFT_SHOULDER else 0.02) * unit)
    for elbow, wrist, hand in (
        (layout.LEFT_ELBOW, layout.LEFT_WRIST, layout.LEFT_HAND_KEYPOINTS),
        (layout.RIGHT_ELBOW, layout.RIGHT_WRIST, layout.RIGHT_HAND_KEYPOINTS),
    ):
        root = hand.start + layout.HAND_ROOT
        end = wrist if np.isfinite(points[wrist]).all() else elbow  # a hand without its arm's end hangs on its elbow
        gap = np.linalg.norm(points[root] - points[end]) / view.shoulder_width
        if end == elbow or gap < MOST_GAP:  # wrist and hand come from two models, so they may lie apart
            pen.line(points[[end, root]], BODY_COLOUR, 0.045 * unit)


def _draw_face(pen: _Pen, points: np.ndarray, frame: np.ndarray, view: View) -> bool:
    """A face placed and scaled by the body's eyes and drawn from the NMM features; False where there are none."""
    aus, (_, _, roll), gaze = frame[layout.FACIAL_AUS], frame[layout.HEAD_POSE], frame[layout.EYE_GAZE].reshape(2, 2)
    mouth = frame[layout.MOUTH_SHAPE].reshape(-1, 2).astype(np.float64)
    if not np.isfinite(frame[layout.NMM]).all() or np.ptp(mouth[:, 0]) < LEAST_MOUTH or np.ptp(mouth) > 3:
        return False
    eyes = points[[layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]]
    unit, origin = np.linalg.norm(eyes[0] - eyes[1]), eyes.mean(0)
    if not 0.1 < unit / view.shoulder_width < 0.6:  # unseen or implausible: where a head would be
        unit, origin = 0.28 * view.shoulder_width, view.head

    def place(x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:  # face units, eye line at y = 0
        return origin + unit * turned(np.stack(np.broadcast_arrays(x, y), axis=-1), roll)

    def ellipse(x: float, y: float, across: float, down: float) -> np.ndarray:
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        return place(x + across * np.cos(angle), y + down * np.sin(angle))

    pixels = 0.05 * float(np.linalg.norm(pen.place(place(1.0, 0.0)) - pen.place(origin)))  # width of a stroke
    mouth_y, chin, top = mouth_below_eyes(aus, mouth), chin_below_eyes(aus, mouth), -0.95
    pen.polygon(ellipse(0.0, (chin + top) / 2, 0.8, (chin - top) / 2), SKIN, BODY_COLOUR, pixels)
    for side, brow_inner, brow_outer, opening, (look_x, look_y) in (
        (1, *aus[layout.LEFT_EYE_UNITS], gaze[1]),  # the signer's left, at the right of the picture
        (-1, *aus[layout.RIGHT_EYE_UNITS], gaze[0]),
    ):
        eye = side * EYE_MIDDLE
        pen.polygon(ellipse(eye, 0.02, 0.17, max(opening / 2, 0.01)), EYE_WHITE, INK, 0.6 * pixels)
        iris = min(0.07, max(opening / 2, 0.01))
        pen.polygon(
            ellipse(eye + 0.34 * np.clip(look_x, -0.4, 0.4), 0.02 + 0.34 * np.clip(look_y, -0.2, 0.2), 0.07, iris), INK
        )
        brow = place(
            side * np.array([0.14, 0.36, BROW_END]),
            -np.array([brow_inner - 0.03, (brow_inner + brow_outer) * 0.58, brow_outer]),
        )
        pen.line(brow, INK, 1.3 * pixels)
    pen.line(np.stack([origin, points[layout.NOSE]]), NOSE_LINE, pixels)
    pen.polygon(place(mouth[:, 0], mouth_y + mouth[:, 1]), LIPS, LIP_EDGE, 0.6 * pixels)
    if aus[ActionUnit.LIP_GAP] > 0.02:
        pen.polygon(ellipse(0.0, mouth_y, 0.32 * np.ptp(mouth[:, 0]), aus[ActionUnit.LIP_GAP] / 2), MOUTH_INSIDE)
    return True


def _draw_head(pen: _Pen, points: np.ndarray, view: View) -> bool:
    """A bare head around the keypoints of eyes and ears, for data without a face mesh; False without both eyes."""
    eyes = [points[layout.LEFT_EYES], points[layout.RIGHT_EYES]]
    if not all(np.isfinite(eye).all(1).any() for eye in eyes):
        return False
    eyes = np.array([eye[np.isfinite(eye).all(1)].mean(0) for eye in eyes])  # [2,2]
    level, origin = eyes[0] - eyes[1], eyes.mean(0)
    roll, half = np.arctan2(level[1], level[0]), 0.22 * view.shoulder_width  # heads turn, and shoulders hardly
    ears = points[[layout.LEFT_EAR, layout.RIGHT_EAR]]
    centre = ears.mean(0) if np.isfinite(ears).all() else origin
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    across, down = half * np.cos(angle), half * (0.1 + 1.3 * np.sin(angle))
    outline = np.stack(
        [across * np.cos(roll) - down * np.sin(roll), across * np.sin(roll) + down * np.cos(roll)], axis=1
    )
    pixels = 0.05 * float(np.linalg.norm(pen.place(centre + half * np.array([1.0, 0.0])) - pen.place(centre)))
    pen.polygon(centre + outline, SKIN, BODY_COLOUR, pixels)
    for eye in eyes:
        pen.polygon(eye + 0.09 * half * np.stack([np.cos(angle), np.sin(angle)], axis=1), INK)
    pen.line(np.stack([origin, points[layout.NOSE]]), NOSE_LINE, pixels)
    return True


def _draw_hand(points: np.ndarray, half: float, side: int, colour: tuple[int, int, int]) -> Image.Image:
    """A hand [21,2] enlarged on a square of `side` pixels that shows `half` to each side of the hand's middle."""
    picture = Image.new("RGB", (side, side), "white")
    ink = ImageDraw.Draw(picture)
    if np.isfinite(points).all():
        middle = (points.max(0) + points.min(0)) / 2
        pen = _Pen(ink, lambda at: (at - middle + half) * side / (2 * half))
        pen.polygon(points[PALM], PALM_FILL)
        pen.line(points[PALM], BODY_COLOUR, 0.022 * side)
        for name, shade in FINGER_COLOURS.items():
            finger = layout.FINGERS[name]
            pen.line(points[finger], (255, 255, 255), 0.052 * side)  # a white edge, so that crossings read
            pen.line(points[finger], shade, 0.034 * side)
            ink.circle(tuple(pen.place(points[finger[-1]])), 0.024 * side, shade)
    edge = max(2, side // 100)
    ink.rectangle([edge, edge, side - 1 - edge, side - 1 - edge], outline=colour, width=edge)
    return picture
