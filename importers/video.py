"""Videos, and folders of frames, as recordings: one frame in memory at a time, one person from first to last frame."""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from importers.detector import Detector, Holistic
from importers.geometry import notes_on_posture, require_upright
from importers.json_frames import places_of
from importers.people import Person, choose, find_people, hand_movement, note_on_people, window
from importers.plan import VIDEO_ENDINGS, Source, files_in
from importers.recording import Recording, at_even_rate, content_of, make_recording
from poses import layout
from poses.face import nmm_from_face_mesh
from poses.rates import SLOWEST
from runtime.errors import UserError

# Set before OpenCV is loaded: no log lines of its video library, and no file that leads elsewhere (a playlist).
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
LOOKS = 4  # per second, to find faces and moving hands
VISIBLE = 0.5  # a point that MediaPipe finds less visible is a guess, which moves by itself
FASTEST_VIDEO = 500.0  # frames per second; browsers' WebM says 1000, the unit of its time stamps
ENDS_EARLY = 0.9  # of the frames that the header promises
UNEVEN = 0.75  # frames that a time stamp strays from an even rate; beyond it the clip is brought to one
SAME_SHAPE = 0.05  # of width / height: pictures of one clip that differ by more are not of one recording
SQUARE, MOST_STRETCH = 0.01, 4.0  # pixels stretched by less than the first, or by more than the second, count as square

Picture = Callable[[], np.ndarray]  # decodes a frame, [H,W,3] uint8 BGR


@dataclass
class FrameStream:
    """A recording's frames, each as (seconds since the first or None, its picture); read once, from first to last."""

    frames: Iterator[tuple[float | None, Picture]]
    fps: float | None = None  # as the header says
    count: int | None = None  # as the header says
    notes: list[str] = field(default_factory=list)


def find_sources(
    folder: Path, output_dir: Path | None = None, skip_bad: bool = False
) -> tuple[list[Source], dict[str, int]]:
    """Videos and folders of frames in a folder and the folders in it, and how many other files have which ending.

    A picture that is called like a video beside it is its cover, as downloaders write it, and no frame. output_dir,
    skip_bad: as in `files_in`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; pass the folder of the videos with --videos")
    sources, others = [], {}
    places: set[Path] = set()  # the folders of frames
    paths = files_in(folder, (*VIDEO_ENDINGS, *PICTURE_ENDINGS), output_dir, skip_bad)
    videos = [path for path in paths if path.suffix.lower() in VIDEO_ENDINGS]
    covered = {*videos, *(path.with_suffix("") for path in videos)}  # a.jpg and a.mp4.jpg are covers of a.mp4
    for path in paths:
        ending = path.suffix.lower()
        if ending in VIDEO_ENDINGS:
            sources.append(Source(path, "video", str(path.relative_to(folder))))
        elif ending in PICTURE_ENDINGS and path.with_suffix("") not in covered:
            place = path.parent
            if place not in places:
                places.add(place)
                name = place.relative_to(folder) if place != folder else Path(folder.resolve().name)
                sources.append(Source(place, "frames", str(name)))
        else:
            others[ending or "no ending"] = others.get(ending or "no ending", 0) + 1
    return sources, others


def header_rate(source: Source, source_fps: float | None) -> float | None:
    """The frames per second that a recording says it has, without decoding it; None where it says nothing."""
    if source.kind == "frames":
        return source_fps
    try:
        return open_video(source.path).fps
    except UserError:
        return None


def content_of_source(source: Source) -> str:
    """A digest that tells whether a recording was replaced or changed."""
    return content_of(source.path, whole=source.kind == "frames")  # a picture may change in its middle


def open_frames(source: Source, source_fps: float | None) -> FrameStream:
    """The frames of a recording. Raises UserError if it can't be opened."""
    return open_video(source.path) if source.kind == "video" else open_folder(source.path, source_fps)


def open_video(path: Path) -> FrameStream:
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise UserError("not a video that OpenCV can open (empty, damaged, or no video at all)")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # phones store how they were held
    turned = capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90
    shape = _shape_of_pixels(capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN))

    def decode() -> np.ndarray:
        ok, picture = capture.retrieve()
        if not ok:
            raise UserError("a frame can't be decoded; convert the video, for example with ffmpeg")
        if shape == 1:
            return picture
        height, width = picture.shape[:2]
        return cv2.resize(picture, (width, round(height * shape)) if turned else (round(width * shape), height))

    def frames() -> Iterator[tuple[float, Picture]]:
        try:
            while capture.grab():
                yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, decode
        finally:
            capture.release()

    fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    fps = fps if SLOWEST <= fps <= FASTEST_VIDEO else None  # a header that says less or more says nothing
    note = f"its pixels are {shape:.4g} times as wide as high; its pictures are stretched to that"
    return FrameStream(frames(), fps, int(count) if 0 < count < 1e8 else None, [note] if shape != 1 else [])


def _shape_of_pixels(width: float, height: float) -> float:
    """A video's pixel width divided by the pixel height, which is not 1 for many camcorders and for television; 1 if
    its header says nothing plausible."""
    shape = width / height if width > 0 and height > 0 else 1.0
    return shape if abs(shape - 1) > SQUARE and 1 / MOST_STRETCH <= shape <= MOST_STRETCH else 1.0


def _frame_numbers(paths: list[Path]) -> dict[Path, int]:
    """The frame number in each picture's name that has numbers: the only number in which the names differ.

    UserError if the names differ in more, such as those of two recordings, or with a time of day: then they have no
    clear order.
    """
    parts = {path: re.split(r"(\d+)", path.stem) for path in sorted(paths)}
    parts = {path: part for path, part in parts.items() if len(part) > 1}  # words and numbers in turn
    words = {tuple(part[::2]) for part in parts.values()}
    numbers = {path: [int(number) for number in part[1::2]] for path, part in parts.items()}
    places = [place for place, found in enumerate(zip(*numbers.values(), strict=False)) if len({*found}) > 1]
    if len(words) > 1 or len(places) > 1:
        first, *_, last = parts
        raise UserError(
            f"the names of its pictures differ in more than the frame's number, as {first.name} and {last.name} do, so "
            "their order can't be told; put each recording into a folder of its own, its pictures numbered"
        )
    place = places[0] if places else -1
    return {path: found[place] for path, found in numbers.items()}


def _is_animation(path: Path) -> bool:
    """Whether a .webp holds several pictures, as a flag of its header says."""
    with open(path, "rb") as file:
        header = file.read(21)
    return header[12:16] == b"VP8X" and len(header) == 21 and bool(header[20] & 2)


def open_folder(folder: Path, fps: float | None) -> FrameStream:
    import cv2

    if fps is None:
        raise UserError("a folder of frames tells no frame rate; pass --source_fps")
    paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_ENDINGS and path.name[0] != "."]
    if moving := [path.name for path in paths if path.suffix.lower() == ".webp" and _is_animation(path)]:
        raise UserError(f"{min(moving)} is an animation, of which one picture would be read; convert it to a video")
    numbers = _frame_numbers(paths)
    notes = []
    if not numbers and len(paths) > 1:
        raise UserError(
            f"its {len(paths)} pictures have no number in their names, such as {min(paths).name}, so nothing tells "
            "their order, or whether they are one recording; number them"
        )
    if 0 < len(numbers) < len(paths):
        notes.append(f"pictures without a number in their name, which are left out: {len(paths) - len(numbers)}")
        paths = list(numbers)
    paths.sort(key=lambda path: (numbers.get(path, 0), path.name))
    places, more = places_of([numbers.get(path) for path in paths])

    def decode(path: Path) -> np.ndarray:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise UserError(f"{path.name} is not a readable picture")
        return picture

    frames = ((place / fps, lambda path=path: decode(path)) for place, path in zip(places, paths, strict=True))
    return FrameStream(frames, fps, len(paths), [*notes, *more])


_detector: Detector | None = None  # of this process: one graph, which is reset before each clip


def make_detector() -> Detector:
    return Holistic()


def read_recording(source: Source, person: str, source_fps: float | None) -> Recording:
    """Make a recording of a video. Raises UserError that says what is wrong with it, without its path."""
    global _detector
    if _detector is None:
        _detector = make_detector()
    _detector.reset()
    return extract(lambda: open_frames(source, source_fps), _detector, person)


def extract(open_again: Callable[[], FrameStream], detector: Detector, person: str) -> Recording:
    """Follow one person through a recording, which is read twice: for its time and its people, then for the poses.

    Several people: the `person` whose hands move most (the recording is read once more for each of them), at the left,
    at the right, or with the largest face, in a part of the picture that leaves the others' faces out. Keypoints are in
    units of the whole picture all the same.
    """
    opened = open_again()
    step = max(1, round((opened.fps or 25) / LOOKS))
    stamps, looks, size = [], [], None
    for number, (stamp, picture) in enumerate(opened.frames):
        stamps.append(stamp)
        if number % step == 0:
            looked = _rgb(picture())
            looks.append(detector.faces(looked))
            size = size or looked.shape[1::-1]
    if not stamps:
        raise UserError("not one of its frames can be decoded; is it a video?")
    fps, even, notes = _clock(np.array(stamps), opened.fps)
    notes += opened.notes
    if opened.count and len(stamps) < ENDS_EARLY * opened.count:
        notes.append(f"ends early, {len(stamps)} frames of the {opened.count} that its header promises")
    people = find_people(looks)
    part = None
    if len(people) > 1:
        notes.append(note_on_people(len(people), person))

        def movement(one: Person) -> float:
            looked = (_rgb(picture()) for n, (_, picture) in enumerate(open_again().frames) if n % step == 0)
            return _movement(looked, detector, window(one, people, *size))

        part = window(choose(people, person, movement), people, *size)
        detector.reset()

    keypoints = np.zeros((len(stamps), layout.NUM_KEYPOINTS, 2))
    visibility = np.zeros((len(stamps), layout.NUM_KEYPOINTS))
    nmm = np.full((len(stamps), layout.NMM_DIM), np.nan)
    for number, (_, picture) in zip(range(len(stamps)), open_again().frames, strict=False):
        whole = _rgb(picture())
        height, width = whole.shape[:2]
        if not math.isclose(width / height, size[0] / size[1], rel_tol=SAME_SHAPE):
            raise UserError(
                f"its pictures are of several shapes, {size[0]} x {size[1]} and {width} x {height} (frame {number}); a "
                "clip is of one picture"
            )
        left, top, right, bottom = part or (0, 0, width, height)
        shown = np.ascontiguousarray(whole[top:bottom, left:right])
        found = detector.landmarks(shown)
        seen = found.visibility > 0
        pixels = found.points * [right - left, bottom - top] + [left, top]
        keypoints[number] = np.where(seen[:, None], pixels / [width, height], 0)
        visibility[number] = found.visibility
        if found.face is not None:
            nmm[number] = nmm_from_face_mesh(found.face[None] * [right - left, bottom - top, right - left])[0]
    recording = make_recording(keypoints, visibility, nmm, fps, tuple(notes), size[0] / size[1])
    if recording.seen[:, layout.SHOULDERS].all(1).any():  # a picture may be turned without a word of it in the header
        require_upright(recording.keypoints, recording.seen)
        notes += notes_on_posture(recording.keypoints, recording.seen)
    recording = replace(recording, notes=tuple(notes))
    return recording if even else at_even_rate(recording, np.array(stamps), fps)


def _movement(looks: Iterable[np.ndarray], detector: Detector, part: tuple[int, int, int, int]) -> float:
    """How much the hands of the person in a part of the pictures (left, top, right, bottom) move."""
    left, top, right, bottom = part
    detector.reset()
    found = [detector.landmarks(np.ascontiguousarray(look[top:bottom, left:right])) for look in looks]
    points = np.stack([one.points for one in found]) * [right - left, bottom - top]
    return hand_movement(points, np.stack([one.visibility for one in found]) > VISIBLE)


def _rgb(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[..., ::-1])


def _clock(stamps: np.ndarray, header_fps: float | None) -> tuple[float, bool, list[str]]:
    """The frames per second, whether the frames were taken at that even rate, and notes. stamps: [T] seconds."""
    steps = np.diff(stamps)
    if not len(steps) or not (steps > 0).all():  # no stamps, or such as go backwards
        if header_fps is None:
            raise UserError("neither its header nor its time stamps tell a frame rate; convert it with ffmpeg")
        jumbled = len(steps) > 0 and stamps[-1] > stamps[0]
        note = f"its time stamps repeat or go backwards, so its header's {header_fps:.4g} frames per second count"
        return header_fps, True, [note] if jumbled else []
    fps = len(steps) / float(stamps[-1] - stamps[0])
    strays = np.abs(stamps - stamps[0] - np.arange(len(stamps)) / fps) * fps
    if strays.max() > UNEVEN or steps.max() > 1.5 * np.median(steps):
        fps = float(1 / steps[steps < 1.5 * np.median(steps)].mean())
        return (
            fps,
            False,
            [f"uneven time stamps (up to {steps.max():.2f} s apart), brought to an even {fps:.4g} frames per second"],
        )
    if header_fps is not None and abs(header_fps - fps) < 0.01 * fps:
        return header_fps, True, []
    rate = f"{header_fps:.4g}" if header_fps else "nothing"
    return fps, True, [f"its header says {rate} frames per second, its time stamps {fps:.4g}; the stamps are believed"]
