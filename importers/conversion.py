"""The work of every importer: read, check and write each recording in worker processes, then report on all."""

import argparse
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
    read: Callable[[Source], Recording],
    content_of: Callable[[Source], str],
    args: argparse.Namespace,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Write every clip that is not there yet, the splits' texts, and a report, also to `--output_dir`/report.txt.

    read, in the workers, makes a recording or raises UserError; content_of gives its digest. args: as
    `add_plan_arguments` has them. Recordings that can't be read are left out, named in the report and, without
    `--skip_bad`, in a UserError at the end.
    shard: (I, N): every Nth clip from the Ith on is this machine's part; the report is of that part.
    """
    number, count = shard
    own = clips[number - 1 :: count]
    if not own:
        raise UserError(f"--shard {number}/{count}: there are only {len(clips)} clips; take fewer shards")
    left_out = _write_clips(own, read, content_of, args)
    written = {clip: read_record(args.output_dir, clip.split, clip.id) for clip in clips}
    texts = {split: _write_lists(args.output_dir, split, written) for split in SPLITS}
    records = {clip: written[clip] for clip in own if written[clip]}
    report = make_report(records, left_out, texts) + _on_earlier_clips(args.output_dir, written, texts)
    report_path = args.output_dir / ("report.txt" if count == 1 else f"report.{number}_of_{count}.txt")
    with write_whole(report_path, "w") as file:
        file.write(report + "\n")
    say(report)
    _require_one_data_set(records, left_out, args, report_path)
    print(f"wrote {len(records)} clips to {args.output_dir} and their report to {report_path}")


def _write_clips(
    clips: list[PlannedClip],
    read: Callable[[Source], Recording],
    content_of: Callable[[Source], str],
    args: argparse.Namespace,
) -> dict[str, str]:
    """Write the clips that are not there yet; the names of the recordings that are left out, and why."""
    pending, changed = _pending(clips, content_of, args.output_dir)
    if len(pending) < len(clips):
        say(f"{len(clips) - len(pending)} of {len(clips)} clips are there already")
    if changed:
        print(f"{len(changed)} recordings have changed, such as {changed[0]}: their clips are made again")
    rate = args.fps if isinstance(args.fps, float) else None
    problems = parallel_map(_convert_one, pending, args.num_workers, read, content_of, args.output_dir, rate)
    results = zip(progress_bar(pending, "importing", "clip"), problems, strict=True)
    return {clip.source.name: problem for clip, problem in results if problem is not None}


def _write_lists(output_dir: Path, split: str, written: dict[PlannedClip, dict | None]) -> dict[str, str]:
    """Bring a split's texts and signers up to date; returns its texts by clip ID, those of earlier calls, too."""
    clips = [clip for clip in written if clip.split == split]
    names = {clip.id for clip in clips if written[clip]}
    _write_texts(output_dir, split, clips, names)
    _write_signers(output_dir, split, clips, names)
    return _lines_but(set(), output_dir / f"{split}.txt", "text")


def _on_earlier_clips(
    output_dir: Path, written: dict[PlannedClip, dict | None], texts: dict[str, dict[str, str]]
) -> str:
    """The end of a report of a folder that also holds clips of earlier calls; else ""."""
    count = sum(len([*(output_dir / split / "records").glob("*.json")]) for split in SPLITS)
    count -= sum(record is not None for record in written.values())
    if not count:
        return ""
    planned = {clip.id for clip in written}
    silent = sum(not text for lines in texts.values() for name, text in lines.items() if name not in planned)
    end = f"; {silent} of them have no text" if silent else ""
    return f"\nnote: the folder also holds {count} clips of earlier calls, of which this report says nothing{end}"


def _require_one_data_set(
    records: dict[PlannedClip, dict], left_out: dict[str, str], args: argparse.Namespace, report_path: Path
) -> None:
    """Raises UserError if no clip was written, if rates differ, or if a recording was left out without --skip_bad."""
    name, problem = next(iter(left_out.items()), ("", ""))
    if not records:
        others = f" (and {len(left_out) - 1} more, see {report_path})" if len(left_out) > 1 else ""
        raise UserError(f"{name}: {problem}{others}; no clip was written")
    rates = sorted(record["fps"] for record in records.values())
    if args.fps is None and not same_rate(rates[0], rates[-1]):
        raise UserError(
            f"{args.output_dir}: its clips have different rates, {rates[0]:g} to {rates[-1]:g} frames per second; "
            f"make it again elsewhere with --fps {round(rates[len(rates) // 2])}, or pass --fps keep"
        )
    if left_out and not args.skip_bad:
        raise UserError(
            f"{len(left_out)} of {len(records) + len(left_out)} recordings were left out, such as {name}: {problem}; "
            f"the others are written (with --skip_bad this is no error)"
        )


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
    read: Callable[[Source], Recording],
    content_of: Callable[[Source], str],
    output_dir: Path,
    fps: float | None,
) -> str | None:
    """Write one clip; what is wrong with its recording, or None."""
    try:
        recording = at_rate(read(clip.source), fps)
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


def make_report(records: dict[PlannedClip, dict], left_out: dict[str, str], texts: dict[str, dict[str, str]]) -> str:
    """What was made: clips, frames, what was seen of them, rates, notes, and what was left out and why.

    texts: the texts of each split by clip ID.
    """
    lines = []
    for split in SPLITS:
        of_split = {clip: record for clip, record in records.items() if clip.split == split}
        if of_split:
            lengths = [record["frames"] for record in of_split.values()]
            seconds = sum(record["frames"] / record["fps"] for record in of_split.values())
            silent = sum(not says_something(texts[split].get(clip.id, "")) for clip in of_split)
            end = f", {silent} without a text" if silent else ""
            lines.append(
                f"{split}: {len(lengths)} clips, {sum(lengths)} frames ({min(lengths)}-{max(lengths)} per clip), "
                f"{seconds:.1f} seconds{end}"
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
