"""The work of every importer: read, check and write each recording in worker processes, then report on all."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from importers.plan import PlannedClip, Source
from importers.recording import PARTS, Recording, at_rate, is_complete, read_record, remove_recording, write_recording
from poses.files import SPLITS
from poses.rates import same_rate
from poses.texts import says_something, signers_path, texts_by_id, with_marks
from runtime.console import progress_bar, say
from runtime.errors import UserError
from runtime.files import read_lines, write_whole
from runtime.parallel import parallel_map

SAME_ASPECT = 1.05  # pictures whose width / height differ by less have one shape
FEW = 0.5  # a body seen in fewer of a clip's frames is worth a note


def convert(
    clips: list[PlannedClip],
    read: Callable[..., Recording],
    content_of: Callable[[Source], str],
    output_dir: Path,
    fps: float | str | None,
    num_workers: int,
    skip_bad: bool,
    *shared: object,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Write every clip that is not there yet, the splits' texts, and a report, also to `output_dir`/report.txt.

    read(source, *shared), in the workers, makes a recording or raises UserError; content_of(source) is its
    digest. fps as --fps has it. Recordings that can't be read are left out, named in the report and,
    without `skip_bad`, in a UserError at the end.
    shard: (I, N): every Nth clip from the Ith on is this machine's part; the report is of that part.
    """
    all_clips, clips = clips, clips[shard[0] - 1 :: shard[1]]
    report_path = output_dir / ("report.txt" if shard[1] == 1 else f"report.{shard[0]}_of_{shard[1]}.txt")
    if not clips:
        raise UserError(f"--shard {shard[0]}/{shard[1]}: there are only {len(all_clips)} clips; take fewer shards")
    pending, changed = _pending(clips, content_of, output_dir)
    if len(pending) < len(clips):
        say(f"{len(clips) - len(pending)} of {len(clips)} clips are there already")
    if changed:
        print(f"{len(changed)} recordings have changed, such as {changed[0]}: their clips are made again")
    rate = fps if isinstance(fps, float) else None
    left_out: dict[str, str] = {}
    results = parallel_map(_convert_one, pending, num_workers, read, content_of, output_dir, rate, shared)
    for clip, problem in zip(progress_bar(pending, "importing", "clip"), results, strict=True):
        if problem is not None:
            left_out[clip.source.name] = problem
    written = {clip: read_record(output_dir, clip.split, clip.id) for clip in all_clips}
    for split in SPLITS:
        of_split = [clip for clip in all_clips if clip.split == split]
        names = {clip.id for clip in of_split if written[clip]}
        _write_texts(output_dir, split, of_split, names)
        _write_signers(output_dir, split, of_split, names)
    records = {clip: written[clip] for clip in clips if written[clip]}
    texts = {split: _lines_but(set(), output_dir / f"{split}.txt", "text") for split in SPLITS}  # of earlier calls, too
    report = make_report(records, left_out, texts)
    earlier = sum(len([*(output_dir / split / "records").glob("*.json")]) for split in SPLITS)
    earlier -= sum(record is not None for record in written.values())
    if earlier:
        report += f"\nnote: the folder also holds {earlier} clips of earlier calls, of which this report says nothing"
        others = {name: text for of_split in texts.values() for name, text in of_split.items()}
        if untold := sum(not others[name] for name in others.keys() - {clip.id for clip in clips}):
            report += f"; {untold} of them have no text"
    with write_whole(report_path, "w") as file:
        file.write(report + "\n")
    say(report)
    first = next(iter(left_out.items()), None)
    if not records:
        others = f" (and {len(left_out) - 1} more, see {report_path})" if len(left_out) > 1 else ""
        raise UserError(f"{first[0]}: {first[1]}{others}; no clip was written")
    rates = sorted(record["fps"] for record in records.values())
    if fps is None and not same_rate(rates[0], rates[-1]):
        raise UserError(
            f"{output_dir}: its clips have different rates, {rates[0]:g} to {rates[-1]:g} frames per second; "
            f"make it again elsewhere with --fps {round(rates[len(rates) // 2])}, or pass --fps keep"
        )
    if left_out and not skip_bad:
        raise UserError(
            f"{len(left_out)} of {len(clips)} recordings were left out, such as {first[0]}: {first[1]}; "
            f"the others are written (with --skip_bad this is no error)"
        )
    print(f"wrote {len(records)} clips to {output_dir} and their report to {report_path}")


def _pending(
    clips: list[PlannedClip], content_of: Callable[[Source], str], output_dir: Path
) -> tuple[list[PlannedClip], list[str]]:
    """The clips that are still to be made, and the recordings that have changed since their clips were made.

    Raises UserError if a clip was made of another recording that is still there: both can't have its ID.
    """
    pending, changed, contents = [], [], {}
    for clip in clips:
        record = read_record(output_dir, clip.split, clip.id)
        if record is not None and not is_complete(output_dir, clip.split, clip.id, record):
            remove_recording(output_dir, clip.split, clip.id)
            record = None
        if record is not None and record.get("content") is not None:  # an earlier version kept none
            path = clip.source.path
            contents[clip.source] = contents.get(clip.source) or content_of(clip.source)
            if record["content"] != contents[clip.source]:
                earlier = record.get("path")
                if isinstance(earlier, str) and earlier != os.path.realpath(path) and os.path.exists(earlier):
                    raise UserError(
                        f"{path}: its clip '{clip.id}' is there, made of {earlier}; pass --ids path, rename one of the "
                        "two, or choose another --output_dir"
                    )
                remove_recording(output_dir, clip.split, clip.id)
                changed.append(clip.source.name)
                record = None
        if record is None:
            pending.append(clip)
    return pending, changed


def _convert_one(
    clip: PlannedClip,
    read: Callable[..., Recording],
    content_of: Callable[[Source], str],
    output_dir: Path,
    fps: float | None,
    shared: tuple,
) -> str | None:
    """Write one clip; what is wrong with its recording, or None."""
    try:
        recording = at_rate(read(clip.source, *shared), fps)
    except UserError as error:
        return str(error).removeprefix(f"{clip.source.path}: ")
    except FileNotFoundError as error:
        name = Path(error.filename or clip.source.path).name
        return f"{name}: no such file, or a link that leads nowhere; fetch its content"
    content = content_of(clip.source)
    write_recording(output_dir, clip.split, clip.id, recording, clip.source.name, clip.source.path, content)
    return None


def _write_texts(output_dir: Path, split: str, clips: list[PlannedClip], written: set[str]) -> None:
    """Bring a split's text file up to date: lines for the clips that are written, none for those that are not.

    Lines of other clips are kept. If any clip has a text, each gets a line, an empty one where no file says its text:
    a data set's text file has a line for every clip.
    """
    path, missing = output_dir / f"{split}.txt", {clip.id for clip in clips} - written
    lines = _lines_but(missing, path, "text")
    lines |= {clip.id: clip.text for clip in clips if clip.text is not None and clip.id in written}
    if lines:
        others = {record.stem for record in (output_dir / split / "records").glob("*.json")} - missing
        _write_lines(path, dict.fromkeys(others | written, "") | lines)


def _write_signers(output_dir: Path, split: str, clips: list[PlannedClip], written: set[str]) -> None:
    """Bring a split's file of signers up to date, where a table names them."""
    path = signers_path(output_dir, split)
    lines = _lines_but({clip.id for clip in clips} - written, path, "signer")
    lines |= {clip.id: clip.signer for clip in clips if clip.signer is not None and clip.id in written}
    if lines:
        _write_lines(path, lines)


def _lines_but(missing: set[str], path: Path, what: str) -> dict[str, str]:
    """The ID|text or ID|signer lines of a file, without those of missing clips; {} if there is none."""
    lines = texts_by_id(path, read_lines(path), what) if path.is_file() else {}
    return {name: value for name, value in lines.items() if name not in missing}


def _write_lines(path: Path, lines: dict[str, str]) -> None:
    with write_whole(path, "w") as file:
        file.writelines(f"{clip_id}|{with_marks(value)}\n" for clip_id, value in sorted(lines.items()))


def make_report(records: dict[PlannedClip, dict], left_out: dict[str, str], said: dict[str, dict[str, str]]) -> str:
    """What was made: clips, frames, what was seen of them, rates, notes, and what was left out and why.

    said: the texts of each split by clip ID.
    """
    lines = []
    for split in SPLITS:
        of_split = {clip: record for clip, record in records.items() if clip.split == split}
        if of_split:
            lengths = [record["frames"] for record in of_split.values()]
            seconds = sum(record["frames"] / record["fps"] for record in of_split.values())
            silent = sum(not says_something(said[split].get(clip.id, "")) for clip in of_split)
            texts = f", {silent} without a text" if silent else ""
            lines.append(
                f"{split}: {len(lengths)} clips, {sum(lengths)} frames ({min(lengths)}-{max(lengths)} per clip), "
                f"{seconds:.1f} seconds{texts}"
            )
    if records:
        frames = sum(record["frames"] for record in records.values())
        seen = sum((Counter(record["seen"]) for record in records.values()), Counter())
        shares = ", ".join(f"{part} {seen[part] / frames:.0%}" for part in PARTS)
        lines.append(f"seen, of all frames: {shares}")
        lines.append("frames per second: " + _counted(f"{record['fps']:.4g}" for record in records.values()))
        aspects = [record["aspect"] for record in records.values() if record["aspect"] is not None]
        if aspects:
            lines.append("width / height of the picture: " + _counted(f"{aspect:.3g}" for aspect in aspects))
            if max(aspects) > SAME_ASPECT * min(aspects):
                lines.append(
                    "note: pictures of different shapes: x and y are 0..1 of the picture, so movements look different "
                    "in each; a model learns better from pictures of one shape"
                )
    notes: dict[str, list[str]] = {}
    for record in records.values():
        for note in [*record["notes"], *_notes(record)]:
            notes.setdefault(note, []).append(record["source"])
    for note, sources in notes.items():
        lines.append(f"note: {note}: {_listed(sources)}")
    for name, problem in left_out.items():
        lines.append(f"left out: {name}: {problem}")
    return "\n".join(lines)


def _notes(record: dict) -> list[str]:
    seen, frames = record["seen"], record["frames"]
    notes = [f"no {part} in any frame" for part in PARTS[1:] if not seen[part]]
    if seen["body"] < FEW * frames:
        notes.append(f"a body in fewer than {FEW:.0%} of the frames (small or dark pictures?)")
    return notes


def _counted(values: Iterable[str]) -> str:
    """'25 (3 clips), 50 (1 clip)', the most frequent first."""
    counts = Counter(values).most_common()
    return ", ".join(f"{value} ({count} clip{'s' if count > 1 else ''})" for value, count in counts)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
