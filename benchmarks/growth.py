"""How the cost of sampling and of judging grows with the frames of a clip and with the batch.

    python benchmarks/growth.py [--rounds 2] [--write]

Default sizes, random weights, and real letters to judge. Prints JSON, seconds: sampling with the student in 4 steps and
decoding, over the frames of 4 clips and over the batch at 120 frames; judging 8 clips by every metric but
back-translation, over their frames. --write puts the table and growth.png into benchmarks/.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from common import (
    README,
    machine,
    make_autoencoder,
    make_generator,
    make_parser,
    make_text_encoder,
    paragraph,
    print_json,
    table,
    time_in_turn,
    unit_statistics,
    write_section,
)
from generated import Signer
from sampling import sampler_and_decoder

from checkpoints import STUDENT
from evaluation.clips import Clip, Reference
from evaluation.evaluator import Evaluator
from poses.pack import write_pack
from runtime.cpu import keep_freed_memory, prefer_onednn
from text_encoders import open_text_encoder

FRAMES, BATCHES = (30, 60, 120, 240, 480), (1, 4, 16, 32)
CLIPS_OF_FRAMES, FRAMES_OF_BATCHES, JUDGED, TEXTS = 4, 120, 8, ("hello", "world")


def judging(frames: int, folder: Path) -> Callable[[], object]:
    """Scores one row of JUDGED clips of so many frames, after what all rows share."""
    signer, rng = Signer(), np.random.default_rng(0)
    takes = [(text, signer.sign(text, frames, rng).pose) for text in TEXTS for _ in range(3 * JUDGED // len(TEXTS))]
    ones = np.ones_like(takes[0][1], bool)
    train = write_pack(
        folder / str(frames),
        ((f"{i}", text, {"pose": pose, "seen": ones}) for i, (text, pose) in enumerate(takes[::3])),
    )
    references = [Reference(pose, ones, f"{i}", text) for i, (text, pose) in enumerate(takes[1::3])]
    evaluator = Evaluator(references, train, make_autoencoder(), unit_statistics())
    return lambda: evaluator.score([Clip.generated(pose) for _, pose in takes[2::3]])


def plot(sampling: dict, over_batch: dict, scoring: dict) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
    for axis, values, label, title in (
        (axes[0], sampling, "frames", f"sampling, {CLIPS_OF_FRAMES} clips"),
        (axes[1], over_batch, "clips in a batch", f"sampling, {FRAMES_OF_BATCHES} frames"),
        (axes[2], scoring, "frames", f"judging, {JUDGED} clips"),
    ):
        axis.loglog(list(values), list(values.values()), "o-")
        axis.set(xlabel=label, ylabel="seconds", title=title)
        axis.set_xticks(list(values), list(map(str, values)))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.savefig(README.with_name("growth.png"), dpi=80)


def describe(report: dict) -> list[str]:
    """The section's paragraphs, tables and picture."""
    return [
        paragraph(
            f"`benchmarks/growth.py --write` measured this section: default sizes, random weights, {machine()}. "
            "Sampling is the student's 4 steps and decoding. Judging computes every metric but back-translation."
        ),
        table(
            ["frames per clip", f"sampling {CLIPS_OF_FRAMES} clips, s", f"judging {JUDGED} clips, s"],
            [[n, report["sampling"][n], report["judging"][n]] for n in FRAMES],
        ),
        table(
            ["clips in a batch", f"sampling {FRAMES_OF_BATCHES} frames, s", "the same for each clip, s"],
            [[n, report["over_batch"][n], round(report["over_batch"][n] / n, 3)] for n in BATCHES],
        ),
        "![How cost grows](growth.png)",
    ]


def main() -> None:
    args = make_parser(__doc__, rounds=2).parse_args()
    onednn = prefer_onednn()
    keep_freed_memory()
    encoder = open_text_encoder(str(make_text_encoder(args.work_dir / "text_encoder")))
    generator = make_generator(STUDENT, encoder, make_autoencoder(), 4, packed=True)
    frames = {n: sampler_and_decoder(generator, CLIPS_OF_FRAMES, n) for n in FRAMES}
    batch = {n: sampler_and_decoder(generator, n, FRAMES_OF_BATCHES) for n in BATCHES}
    sampling, over_batch = time_in_turn(frames, args.rounds), time_in_turn(batch, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        scoring = time_in_turn({n: judging(n, Path(folder)) for n in FRAMES}, args.rounds)
    report = {
        name: {n: round(value, 3) for n, value in values.items()}
        for name, values in (("sampling", sampling), ("over_batch", over_batch), ("judging", scoring))
    }
    print_json({"onednn": onednn, **report})
    if args.write:
        plot(sampling, over_batch, scoring)
        write_section("How cost grows", *describe(report))


if __name__ == "__main__":
    main()
