"""Folders of other people's poses: which files are recordings, of which format, and how each is read."""

import functools
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from importers import arrays, json_frames
from importers.geometry import check_body, image_units, notes_on_body, swap_hands
from importers.plan import Source, files_in
from importers.pose_files import NO_DEPTH, SIGNED_DEPTH, read_pose_recording
from importers.recording import Recording, content_of, make_recording
from importers.skeletons import NUM_SKELS, SKELS, SKELS_LEFT_HAND, SKELS_RIGHT_HAND, map_points
from poses import layout
from poses.face import has_depth, is_flat
from poses.pack import digest
from poses.presence import collapsed, placed
from poses.rates import same_rate
from poses.texts import legible
from runtime.errors import UserError
from runtime.files import read_lines
from runtime.untrusted import read_npy_shape

FORMATS = {
    "pose": ".pose files of MediaPipe Holistic, full or reduced",
    "arrays": "MediaPipe's landmarks, .npy or .npz, one file per clip",
    "array_frames": "MediaPipe's landmarks, one folder per clip, with one .npy file per frame",
    "json_frames": "OpenPose's or DWPose's JSON, one folder per clip, with one file per frame",
    "mmpose": "MMPose's JSON, one file per clip ('instance_info')",
    "skels": "Progressive Transformers' .skels, one line per clip",
}
FRAME_FORMATS = ("json_frames", "array_frames")  # of one file per frame
ENDINGS = (".pose", ".npy", ".npz", ".json", ".skels")
USUAL_UNITS = {"arrays": "unit", "array_frames": "unit", "mmpose": "pixels", "skels": "shoulders"}
BESIDE, MANY_BESIDE = 0.05, 0.5  # shares of the picture and of the frames: some hands are guessed beyond the border
FRAME_VALUES = 3000  # an array of at most so many numbers is one frame


@dataclass(frozen=True)
class ReadingFlags:
    """The flags that say how recordings are read; None for a flag that was not given."""

    units: str | None = None
    size: tuple[int, int] | None = None  # width and height of the recorded picture
    source_fps: float | None = None
    person: str = "signing"
    swap_hands: bool = False


@dataclass(frozen=True)
class RawRecording:
    """What a recording holds, in its format's own unit: points [T,75,2], visibility [T,75], a face mesh or None; frames
    per second and the picture's (width, height), where told; notes."""

    points: np.ndarray
    visibility: np.ndarray
    face: np.ndarray | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


def find_sources(
    folder: Path, wanted: str | None = None, output_dir: Path | None = None, skip_bad: bool = False
) -> Iterator[Source]:
    """Every recording in a folder and the folders in it, in order of their paths; wanted: only those of this format.

    output_dir, skip_bad: as in `files_in`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; pass the folder of the recordings with --input")
    _frames_of_clips.cache_clear()  # folders may have changed since an earlier call in this process
    groups: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    of_one_frame = []
    for path in files_in(folder, ENDINGS, output_dir, skip_bad):
        if path.suffix.lower() not in ENDINGS:
            continue
        if path.parent.name == "poses" and (path.parent.parent / "nmms" / f"{path.stem}.pkl").is_file():
            raise UserError(
                f"{path}: is a clip of this project's layout, whose face in nmms/ an import would lose; its data set "
                "needs no import: pass it to data_preparation.py"
            )
        frame = _shape_of_frame(path)
        kind = _kind_of(path, frame, wanted)
        if wanted not in (None, kind):
            continue
        if kind == "skels":
            places, parent = skels_places(path), path.parent.relative_to(folder)
            for place, name in zip(places, skels_names(path, len(places)), strict=True):
                yield Source(path, kind, str(parent / name), place)
        elif kind in FRAME_FORMATS:
            groups[path.parent, kind, json_frames.clip_prefix(path)].append(path)
        else:
            if frame and wanted is None:
                of_one_frame.append(path)
            yield Source(path, kind, str(path.relative_to(folder)))
    if of_one_frame:
        print(
            f"{len(of_one_frame)} numbered files are [1,...], such as {of_one_frame[0]}: each is a clip of one frame; "
            "--format array_frames makes those of a folder one clip"
        )
    _leave_strays_out(groups)
    prefixes: dict[tuple[Path, str], list[str]] = defaultdict(list)
    for parent, kind, prefix in groups:
        prefixes[parent, kind].append(prefix)
    for (parent, kind, prefix), paths in groups.items():
        if json_frames.are_seconds(paths):
            raise UserError(
                f"{parent}: its files are named by seconds, such as {paths[-1].name}; number its frames in their names"
            )
        beside = prefixes[parent, kind]
        if len(beside) > 1 and all(len(groups[parent, kind, other]) == 1 for other in beside):
            raise UserError(
                f"{parent}: each of its {len(beside)} files would be a clip of its own, of one frame, such as "
                f"{paths[0].name}; let a name's last number be the frame's, as in clip_000012{paths[0].suffix}, or "
                "put each clip of one frame into a folder of its own"
            )
        place = parent.relative_to(folder)
        name = place / prefix if len(beside) > 1 else place
        yield Source(paths[0], kind, str(name) if name.name else folder.resolve().name)


def _kind_of(path: Path, frame: tuple[int, ...] | None, wanted: str | None) -> str:
    """The format of a file; frame: its shape, if it may hold a single frame. An array [1,...] may also be a clip."""
    ending = path.suffix.lower()
    if ending == ".json":
        one = json_frames.frame_number(path) is not None and not json_frames.is_video(path)
        return "json_frames" if one else "mmpose"
    if frame and wanted != "arrays" and (frame[0] > 1 or wanted == "array_frames"):
        return "array_frames"
    return {".pose": "pose", ".skels": "skels"}.get(ending, "arrays")


def _leave_strays_out(groups: dict[tuple[Path, str, str], list[Path]]) -> None:
    """Leave out JSON files that are no frames but lie among frames, such as `config_2.json`, and name them.

    In a folder without any frame they stay, and reading them says what is wrong.
    """
    of_folder: dict[Path, list[tuple[Path, str, str]]] = defaultdict(list)
    for group in groups:
        if group[1] == "json_frames":
            of_folder[group[0]].append(group)
    for found in of_folder.values():
        strays = [group for group in found if not any(map(json_frames.holds_frame, groups[group]))]
        for group in strays if len(strays) < len(found) else ():
            paths = groups.pop(group)
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            print(f"left out {paths[0]}{more}: JSON beside frames, but no frame of OpenPose or DWPose")


def frame_paths(source: Source) -> list[Path]:
    """The files of a recording with one file per frame, in order of their numbers."""
    first = source.path
    return _frames_of_clips(first.parent, first.suffix.lower())[json_frames.clip_prefix(first)]


@functools.lru_cache(maxsize=16)
def _frames_of_clips(folder: Path, ending: str) -> dict[str, list[Path]]:
    """The files of a folder that are called like frames, in order of their numbers, by their clip's name.

    Cached, since a folder may hold the frames of thousands of clips, and each clip would look through all files.
    """
    clips: dict[str, list[Path]] = defaultdict(list)
    for path in folder.iterdir():
        if path.suffix.lower() == ending and path.name[0] != "." and json_frames.frame_number(path) is not None:
            clips[json_frames.clip_prefix(path)].append(path)
    for paths in clips.values():
        paths.sort(key=lambda path: (json_frames.frame_number(path), path.name))
    return dict(clips)


def content_of_source(source: Source) -> str:
    """A digest that tells whether a recording was replaced or changed. It is made from every file of a recording with
    one file per frame, from the line of a clip in a .skels file, else from the file."""
    if source.kind in FRAME_FORMATS:
        return digest([[path.name, content_of(path, whole=True)] for path in frame_paths(source)])
    if source.kind == "skels" and source.path.is_file():
        return digest([hashlib.sha256(skels_line(source.path, source.part)).hexdigest()])
    return content_of(source.path, whole=True)


def read_recording(source: Source, reading: ReadingFlags) -> Recording:
    """Read one recording. Raises UserError that says what is wrong with it, without its path."""
    if source.kind == "pose":
        rate = functools.partial(_fps, reading)
        recording = read_pose_recording(source.path, reading.units, reading.size, reading.person, rate)
    else:
        raw = _read_points(source, reading)
        fps = raw.fps or _fps(reading)
        size, more = _size_of_picture(raw, source.kind, reading)
        reading = replace(reading, size=size)
        keypoints, visibility, nmm, notes = _to_image(raw, source.kind, reading)
        aspect = size[0] / size[1] if size else None
        recording = make_recording(keypoints, visibility, nmm, fps, (*raw.notes, *more, *notes), aspect)
    if reading.swap_hands:
        keypoints, visibility = swap_hands(recording.keypoints), swap_hands(recording.visibility)
        recording = replace(recording, keypoints=keypoints, visibility=visibility)
    check_body(recording.keypoints, recording.seen, reading.swap_hands)
    notes = [*recording.notes, *notes_on_body(recording.keypoints, recording.seen)]
    if reading.source_fps and not same_rate(recording.fps, reading.source_fps):
        notes.append(f"its file states {recording.fps:g} frames per second, which --source_fps does not change")
    return replace(recording, notes=tuple(notes))


def _read_points(source: Source, reading: ReadingFlags) -> RawRecording:
    """What a recording of any format but `.pose` holds."""
    if source.kind == "json_frames":
        points, visibility, size, notes = json_frames.read_frames(frame_paths(source), reading.person)
        return RawRecording(points, visibility, size=size, notes=notes)
    if source.kind == "mmpose":
        points, visibility, notes = json_frames.read_video_file(source.path, reading.person)
        return RawRecording(points, visibility, notes=notes)
    if source.kind == "skels":
        joints = read_skels(source.path, source.part)
        points = map_points(joints, SKELS, joints[:, SKELS_LEFT_HAND], joints[:, SKELS_RIGHT_HAND])[..., :2]
        return RawRecording(points, (points != 0).any(2).astype(float))
    notes = ()
    if source.kind == "array_frames":
        paths = frame_paths(source)
        frames, notes = json_frames.places_of([json_frames.frame_number(path) for path in paths])
        read = arrays.read_frames(paths, frames)
    else:
        read = arrays.read_arrays(source.path)
    points, visibility, face, more = arrays.landmarks(read)
    return RawRecording(points, visibility, face, read.fps, notes=(*notes, *read.notes, *more))


def _size_of_picture(
    raw: RawRecording, kind: str, reading: ReadingFlags
) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """Width and height of the recorded picture, None where it is not known, and notes.

    None, too, where coordinates are centred on the shoulders: such a body is put into a square picture.
    """
    if raw.size and reading.size not in (None, raw.size):
        raise UserError(
            f"its JSON states a canvas of {raw.size[0]} x {raw.size[1]} pixels, but --width and --height "
            f"{reading.size[0]} x {reading.size[1]}; leave them out"
        )
    size = raw.size or reading.size
    if size and (reading.units or USUAL_UNITS.get(kind)) == "shoulders":
        return None, ("a body centred on the shoulders is put into a square picture; its own size has no say",)
    return size, ("the picture's size is the canvas that its JSON states",) if raw.size else ()


def _to_image(
    raw: RawRecording, kind: str, reading: ReadingFlags
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[str]]:
    """Keypoints in image units, their visibility, NMM numbers of the face, and notes.

    Points are judged before they are moved: (0, 0) and (-1, -1) say "not found" in any unit, but lie elsewhere after.
    """
    points = raw.points
    seen = placed(points) & (raw.visibility > 0)
    usual = USUAL_UNITS.get(kind) or ("pixels" if np.abs(points[seen]).max(initial=0) > 3 else "unit")
    scale, offset = image_units(points, seen, reading.units, usual, reading.size)
    nmm, notes = None, []
    if raw.face is not None:
        face, notes = _face_to_image(raw.face, scale, offset, reading)
        nmm = arrays.nmm_of_mesh(face, reading.size or (1, 1))
    points = points * scale + offset
    outside = ((points < -BESIDE) | (points > 1 + BESIDE)).any(2) & seen  # [T,75]
    outside[:, layout.LEFT_HIP : layout.NUM_BODY] = False  # RTMPose and DWPose guess legs below the picture
    beside = outside.any(1)  # [T]
    if kind == "json_frames" and reading.size and beside.mean() > MANY_BESIDE:
        raise UserError(
            f"points lie outside the picture in {beside.mean():.0%} of the frames; --width and --height, or the JSON's "
            "canvas, are those of another one"
        )
    return points, np.where(seen, raw.visibility, 0), nmm, notes


def _face_to_image(
    face: np.ndarray, scale: np.ndarray, offset: np.ndarray, reading: ReadingFlags
) -> tuple[np.ndarray, list[str]]:
    """Face meshes [T,N,3] in image units, zeros where there is none, and notes; x and y become scale * x + offset."""
    notes = []
    has_face = np.isfinite(face).all((1, 2)) & ~collapsed(face, 0.0)
    if has_face.any() and not has_depth(face[has_face]):
        notes.append(NO_DEPTH)
        has_face[:] = False
    depth_scale = scale[0]
    if has_face.any() and is_flat(face[has_face]):
        notes.append("depth of the face in pictures, x and y in pixels; read as such")
        depth_scale = 1.0
    elif has_face.any() and reading.units == "signed":
        notes.append(SIGNED_DEPTH)
    if reading.size is None and reading.units != "shoulders":
        notes.append(
            "the picture's size is not known, so the face is measured as if it were square (--width, --height)"
        )
    moved = np.concatenate([face[..., :2] * scale + offset, face[..., 2:] * depth_scale], axis=2)
    return np.where(has_face[:, None, None], moved, 0), notes


def _fps(reading: ReadingFlags) -> float:
    if reading.source_fps is None:
        raise UserError("it tells no frame rate; pass --source_fps")
    return reading.source_fps


def _shape_of_frame(path: Path) -> tuple[int, ...] | None:
    """The shape of a numbered .npy file that holds a single frame, going by its header alone; None of any other."""
    if path.suffix.lower() != ".npy" or json_frames.frame_number(path) is None:
        return None
    try:
        whole = read_npy_shape(path)
    except UserError:  # reading the file says what is wrong with it
        return None
    shape = tuple(size for size in whole if size > 1)
    single = 0 < math.prod(whole) <= FRAME_VALUES and (len(shape) == 1 or (len(shape) == 2 and shape[1] <= 4))
    return whole if single else None


def skels_places(path: Path) -> list[int]:
    """Where each clip of a .skels file begins, in bytes."""
    places, place = [], 0
    with open(path, "rb") as file:
        for line in file:
            if not line.isspace():
                places.append(place)
            place += len(line)
    return places


def skels_names(path: Path, count: int) -> list[str]:
    """The names of a .skels file's `count` clips: from the .files beside it, or its own name with a number."""
    listing = path.with_suffix(".files")
    if not (listing.is_file() or listing.is_symlink()):  # a link that leads nowhere is an error, and not no file
        return [f"{path.stem}_{number:05d}" for number in range(count)]
    names = [line for _, line in read_lines(listing)]
    if len(names) != count:
        raise UserError(f"{listing}: names {len(names)} clips, but {path.name} holds {count}")
    return names


def skels_texts(path: Path, count: int) -> list[str] | None:
    """The texts of a .skels file's `count` clips, from the .text beside it; None where there is none.

    UserError if the texts are not as many as the clips, since nothing would say which clip has which text.
    """
    texts = path.with_suffix(".text")
    if not (texts.is_file() or texts.is_symlink()):
        return None
    lines = read_lines(texts, blank=True)
    if len(lines) != count:
        raise UserError(f"{texts}: has {len(lines)} texts, but {path.name} holds {count} clips; one line for each")
    return [legible(line) for _, line in lines]


def skels_line(path: Path, place: int) -> bytes:
    """The line of the clip at a byte of a .skels file."""
    with open(path, "rb") as file:
        file.seek(place)
        return file.readline()


def read_skels(path: Path, place: int) -> np.ndarray:
    """The joints [T,50,3] of the clip at a byte of a .skels file: 50 joints and a counter, frame after frame."""
    line = skels_line(path, place)
    try:
        numbers = np.array(line.split(), dtype=np.float64)
        frames = numbers.reshape(-1, NUM_SKELS * 3 + 1)
    except ValueError:
        raise UserError("its line is not a whole number of frames of 151 numbers") from None
    shown = np.flatnonzero(frames[:, :-1].any(1))
    counter = frames[: shown[-1] + 1, -1] if len(shown) else frames[:, -1]  # without padding at the end
    if not (np.diff(counter) >= 0).all():
        raise UserError(
            "the last of a frame's 151 numbers is no counter that rises; write 150 numbers of joints, then the counter"
        )
    return frames[:, :-1].reshape(-1, NUM_SKELS, 3)
