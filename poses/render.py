"""Clips as files to look at: a sheet of frames, an MP4 or a GIF. `figure.py` draws each frame."""

import contextlib
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import imageio_ffmpeg
import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from poses.figure import BODY_COLOUR, COLOURS, EYE_WHITE, FRAME, INK, STRIP, draw_frame, fit_views
from poses.texts import legible
from runtime.errors import UserError
from runtime.files import temporary_beside, write_whole

LabelledPoses = Sequence[tuple[str, np.ndarray]]  # label and pose [T,214] of each clip
FrameTexts = Sequence[Sequence[str] | None] | None  # of each clip a text per frame, or None

GIF_MAX_FPS, GIF_COLOURS = 50, 64
GIF_MAX_SECONDS = 655  # a picture that stands still has 65535 hundredths of a second
MP4_MAX_WIDTH, GIF_MAX_WIDTH = 16384, 65535  # pixels that H.264 takes, and that a GIF can state


def contact_sheet(
    rows: LabelledPoses, path: Path, num_frames: int = 10, captions: FrameTexts = None, aspect: float = 1.0
) -> None:
    """Write the picture of `draw_sheet` as a PNG."""
    sheet = draw_sheet(rows, num_frames, captions, aspect)
    with write_whole(path) as file:
        sheet.save(file, format="PNG")


def draw_sheet(
    rows: LabelledPoses,
    num_frames: int = 10,
    captions: FrameTexts = None,
    aspect: float = 1.0,
    width: int = 160,
    smoothing: int = 4,
) -> Image.Image:
    """A row per (label, pose [T,214]), `num_frames` frames evenly spaced in time, first and last included.

    captions: for each row None or a text per frame of the clip, such as the letter that is being signed.
    """
    label_width, label_top, caption_height = 150, 14, 26
    height = width + round(width * STRIP) + caption_height
    line_height = _font(15, bold=True).getbbox("A")[3] + 4  # as Pillow sets lines
    lines = (height - caption_height - label_top) // line_height
    sheet = Image.new("RGB", (label_width + num_frames * width, len(rows) * height), "white")
    ink = ImageDraw.Draw(sheet)
    views = fit_views([pose for _, pose in rows], aspect)
    for row, ((label, pose), view) in enumerate(zip(rows, views, strict=True)):
        texts = captions[row] if captions else None
        name = _wrapped(label, label_width - 16, 15, lines)
        ink.multiline_text((10, row * height + label_top), name, INK, _font(15, bold=True), spacing=4)
        ink.text((10, row * height + height - caption_height), f"{len(pose)} frames", BODY_COLOUR, _font(12))
        for column, t in enumerate(np.linspace(0, len(pose) - 1, num_frames).round().astype(int)):
            left, top = label_width + column * width, row * height
            sheet.paste(draw_frame(pose[t], view, width, smoothing), (left, top))
            ink.text((left + 6, top + 4), str(t), BODY_COLOUR, _font(11))
            if texts is not None and t < len(texts):
                at = (left + width / 2, top + height - 24)
                ink.text(at, _wrapped(texts[t], width - 4, 18, 1), INK, _font(18, bold=True), anchor="ma")
        ink.line([(0, (row + 1) * height - 1), (sheet.width, (row + 1) * height - 1)], FRAME, 1)
    return sheet


def video(
    columns: LabelledPoses,
    path: Path,
    fps: float = 25.0,
    captions: FrameTexts = None,
    aspect: float = 1.0,
    width: int = 360,
) -> None:
    """Write an MP4 (H.264): a panel per (label, pose [T,214]) side by side; clips that end early hold their last frame.

    captions: for each panel None or a text per frame, shown large below it, such as the letter that is being signed.
    Raises UserError, and leaves an older file as it is, if the file does not hold every frame.
    """
    path = Path(path)
    _require_width(path, len(columns), width, MP4_MAX_WIDTH)
    frames = _side_by_side(columns, captions, aspect, width)
    first, sent = next(frames), max(len(pose) for _, pose in columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    writer = imageio_ffmpeg.write_frames(
        str(temporary),
        first.size,
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=8,
        macro_block_size=2,
        ffmpeg_log_level="quiet",
        output_params=["-threads", "1", "-preset", "veryfast", "-movflags", "+faststart", "-f", "mp4"],
    )
    try:
        temporary.touch()
        with contextlib.closing(writer):
            writer.send(None)
            for picture in itertools.chain([first], frames):
                writer.send(picture.tobytes())
        written = _count_frames(temporary)  # the writer does not say how ffmpeg ended
        if written != sent:
            raise UserError(f"{path}: not written (ffmpeg wrote {written} of {sent} frames); check the free space")
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or "ffmpeg stopped"  # its own account is a page
        raise UserError(f"{path}: not written ({reason}); check the free space and the permissions") from error
    finally:
        temporary.unlink(missing_ok=True)


def gif(
    columns: LabelledPoses,
    path: Path,
    fps: float = 25.0,
    captions: FrameTexts = None,
    aspect: float = 1.0,
    width: int = 240,
) -> None:
    """Write the pictures of `video` as a GIF that repeats.

    A GIF counts time in hundredths of a second, and browsers slow down a GIF that shows a frame for less than two of
    them. So some frames of clips of more than 50 frames per second are left out.
    """
    _require_width(path, len(columns), width, GIF_MAX_WIDTH)
    seconds = max(len(pose) for _, pose in columns) / fps
    if seconds > GIF_MAX_SECONDS:
        raise UserError(
            f"{path}: lasts {seconds:.6g} seconds at {fps:g} frames per second, and a GIF at most {GIF_MAX_SECONDS}; "
            "raise --fps, or write .mp4"
        )
    step = max(1, math.ceil(fps / GIF_MAX_FPS))
    frames = itertools.islice(_side_by_side(columns, captions, aspect, width), 0, None, step)
    first = next(frames)
    palette = _palette(first)  # one for all frames, so that colours do not flicker
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in (first, *frames)]
    ends = np.round(100 * step * np.arange(len(pictures) + 1) / fps)
    with write_whole(Path(path)) as file:
        durations = (10 * np.diff(ends)).astype(int).tolist()
        pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def _palette(picture: Image.Image) -> Image.Image:
    """A palette: GIF_COLOURS colours of the picture, and those that another frame may show, such as a later hand: every
    colour of a figure, and that colour halfway to white, for edges."""
    own = np.array(picture.quantize(GIF_COLOURS).getpalette()).reshape(-1, 3)
    colours = np.array([EYE_WHITE, *COLOURS])
    mixed = np.concatenate([own, (colours + 255) // 2])
    mixed = mixed[mixed.min(1) < 246]  # Pillow, which rounds colours, would take paler ones for white
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([mixed, colours]).flatten().tolist())
    return palette


def _require_width(path: Path, panels: int, width: int, most: int) -> None:
    """Raises UserError if panels of `width` pixels side by side are wider than the file's format takes."""
    if panels * width > most:
        raise UserError(
            f"{path}: {panels} clips side by side are {panels * width} pixels wide, and {Path(path).suffix} takes "
            f"{most}; show at most {most // width} clips at once"
        )


def _count_frames(path: Path) -> int:
    """The number of frames that can be read from a video; 0 if the file is no video."""
    try:
        return imageio_ffmpeg.count_frames_and_secs(path)[0]
    except RuntimeError:
        return 0


def _side_by_side(columns: LabelledPoses, captions: FrameTexts, aspect: float, width: int) -> Iterator[Image.Image]:
    """The frames of `video`."""
    label_height, caption_height = 40, 52
    height = label_height + width + round(width * STRIP) + caption_height
    size = (len(columns) * width // 2 * 2, height // 2 * 2)  # H.264 takes even sizes only
    views = fit_views([pose for _, pose in columns], aspect)
    base = Image.new("RGB", size, "white")
    ink = ImageDraw.Draw(base)
    for column, (label, _) in enumerate(columns):
        text = _wrapped(label, width - 20, 16, 1)
        ink.text((column * width + width / 2, 10), text, INK, _font(16, bold=True), anchor="ma")
        if column:
            ink.line([(column * width, 0), (column * width, height)], FRAME, 1)
    for t in range(max(len(pose) for _, pose in columns)):
        picture = base.copy()
        ink = ImageDraw.Draw(picture)
        for column, (_, pose) in enumerate(columns):
            now = min(t, len(pose) - 1)
            picture.paste(draw_frame(pose[now], views[column], width - 2), (column * width + 1, label_height))
            texts = captions[column] if captions else None
            if texts is not None and now < len(texts):
                at = (column * width + width / 2, height - caption_height + 8)
                ink.text(at, _wrapped(texts[now], width - 20, 28, 1), INK, _font(28, bold=True), anchor="ma")
        yield picture


def _font_file(bold: bool = False) -> str:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"  # ships with matplotlib; Latin, Greek, Cyrillic, Arabic
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_file(bold), size)


def without_glyph(texts: Iterable[str]) -> str:
    """The letters of texts that a picture shows as boxes, since its font lacks them."""
    font = FT2Font(_font_file(bold=True))
    letters = dict.fromkeys("".join(map(_drawable, texts)))
    return "".join(letter for letter in letters if not (letter.isspace() or font.get_char_index(ord(letter))))


def _drawable(text: str) -> str:
    """`text` on one line, without what a font cannot draw: control characters, and bytes of another encoding."""
    return legible(text).encode(errors="replace").decode()


def _wrapped(text: str, width: float, size: int, most: int) -> str:
    """`text` in at most `most` lines of at most `width` pixels, broken at blanks if possible; '…' marks a cut."""
    lines, font = [""], _font(size, bold=True)
    for part in re.findall(r"\S+\s*|\s+", _drawable(text)):
        if lines[-1] and font.getlength(lines[-1] + part.rstrip()) > width:
            lines.append("")
        for letter in part:
            if font.getlength((lines[-1] + letter).rstrip()) > width:
                lines.append("")
            lines[-1] += letter
    if len(lines) > most:
        last = lines[most - 1].rstrip()
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1].rstrip()
        lines[most - 1 :] = [f"{last}…"]
    return "\n".join(lines)
