"""The newest clips of the page as files, which the browser plays and downloads."""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.sync import nmm_scale
from generation import Generated
from poses.page import Entry, PageClip, write_page
from poses.render import video
from poses.single_clips import read_single_clip
from poses.writing import CLIP_FORMATS, DEFAULT_FPS, write_clip
from runtime.files import write_whole

ENDINGS = (".pose", ".mp4", ".npy", ".json")  # the formats of the downloads
KEPT = 50  # clips; older ones are removed


class Shelf:
    """The newest clips, one folder each, in every format of ENDINGS; a video is drawn when it is first requested."""

    def __init__(self, folder: Path, image_size: Sequence[int] | None) -> None:
        self.folder, self.image_size = folder, image_size
        folder.mkdir()
        self.aspect = image_size[0] / image_size[1] if image_size else 1.0
        self.numbers, self.entries = itertools.count(1), {}

    def add(self, clip: Generated, record: dict[str, object], label: str) -> str:
        """Write a clip's files, and `page.html`, which plays it; returns the name of its folder and its files."""
        name = f"clip{next(self.numbers):04d}"
        folder, fps = self.folder / name, record["fps"] or DEFAULT_FPS
        for ending in CLIP_FORMATS:
            write_clip(folder / f"{name}{ending}", clip.pose, fps, self.image_size)
        with write_whole(folder / f"{name}.json", "w") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
        written = read_single_clip(folder / f"{name}.npy")
        entry = Entry(name, str(record["text"]), fps, {label: PageClip(written.pose, written.seen)})
        write_page(folder / "page.html", label, [entry], nmm_scale([written]), aspect=self.aspect)
        self.entries[name] = entry
        if len(self.entries) > KEPT:
            oldest = next(iter(self.entries))
            del self.entries[oldest]
            shutil.rmtree(self.folder / oldest)
        return name

    def video(self, name: str) -> Path:
        """The path of a clip's video. Raises KeyError if there is no such clip, or no longer."""
        entry, path = self.entries[name], self.folder / name / f"{name}.mp4"
        if not path.exists():
            columns = [(label, np.where(clip.seen, clip.pose, np.nan)) for label, clip in entry.clips.items()]
            video(columns, path, entry.fps, aspect=self.aspect)
        return path
