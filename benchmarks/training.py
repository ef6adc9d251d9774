"""A step of stage 2, flow training at default sizes, against a plain loop on the same model. Prints JSON.

    python benchmarks/training.py [--write]              # temporal stride 1 and 4; 7 minutes on 2 cores

Lengths are uniform, 20 to 120 frames, 32 clips a batch, texts of 20 words, an encoder of BERT-base's size. The plain
loop reads each clip's .npz and .pkl, runs the text encoder and the autoencoder's encoder in every step, pads every
batch to --max_seq_len, and takes PyTorch's default AdamW, not the fused one. Both go through the same batches from the
same weights with the same noise, each in a process of its own, in turns, a batch each, so that what else the machine
does meets both. `ratio` is of clips per second; `losses` are both curves (dropout is off, or the two would draw other
masks). `ratio_same_products` compares with the plain loop under the products and the memory that this project chooses
(runtime/cpu.py): what is left is the share of caching, batching, reading and the fused optimiser, of which
`arithmetic`, the ratio of both sides' operations, is what any loop could gain.
"""

import contextlib
import copy
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import machine, make_parser, make_text_encoder, paragraph, print_json, table, write_section
from generated import run_script, write_autoencoder, write_split
from torch.utils.flop_counter import FlopCounterMode

from checkpoints import load_autoencoder
from dataset import LengthBatches, collate
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.text_to_latent import TextToLatent
from models.whole_batch import Draws, WholeBatch, part_of
from poses.files import list_clips, read_clip
from poses.presence import presence
from poses.splits import load_split
from poses.statistics import STATISTICS_FILE
from runtime import cpu
from text_encoders import open_text_encoder
from train_stage2_latent_flow import loss as flow_loss
from training import engine, optimisation
from training.latents import LatentSource, energies, latent_dataset, set_latent_scale, set_sync_targets
from training.settings import TrainSettings
from training.state import EpochState, Progress, Run

SHORTEST, LONGEST, BATCH, WORDS = 20, 120, 32, 20
SETTINGS = TrainSettings(output_dir="", batch_size=BATCH)


def make_data(folder: Path, clips: int) -> None:
    lengths = np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, clips).tolist()
    for split, frames in (("train", lengths), ("dev", [50] * 2), ("test", [50] * 2)):
        write_split(folder, split, frames, num_texts=len(frames), words=WORDS)
    run_script("data_preparation.py", "--data_dir", folder)


class OneBatch(list):
    """A sampler of one batch, which the engine tells the epoch."""

    epoch = 0

    def clips(self) -> list[tuple[int, int]]:
        """As the sampler of a single process counts them."""
        return [(len(batch), len(batch)) for batch in self]


class Loop:
    """A model with its optimiser, its average and its schedule."""

    def __init__(self, model: TextToLatent, fused: bool = False) -> None:
        optimizer = torch.optim.AdamW(optimisation.parameter_groups(model, 0.01), 1e-4, (0.9, 0.99), fused=fused)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        self.run = Run(model.train(), copy.deepcopy(model), optimizer, schedule, Progress())

    def step(self, batch: list[tuple[int, int]], number: int) -> float:
        """Of the batch's (index, epoch); its loss."""
        raise NotImplementedError


class Ours(Loop):
    """The engine's own epoch, of one batch."""

    def __init__(self, model: TextToLatent, dataset: torch.utils.data.Dataset) -> None:
        super().__init__(model, fused=True)  # as the engine's
        self.dataset, self.accelerator = dataset, engine.make_accelerator("no")
        self.objective = engine.Objective(model, flow_loss)

    def step(self, batch: list[tuple[int, int]], number: int) -> float:
        loader = torch.utils.data.DataLoader(self.dataset, batch_sampler=OneBatch([batch]), collate_fn=collate)
        self.run.progress, self.run.epoch = Progress(epoch=number, step=number), EpochState()
        return engine.train_epoch(self.accelerator, self.objective, self.run, loader, SETTINGS)["loss"]


class Plain(Loop):
    """Everything afresh in every step, every batch as long as the longest clip may be."""

    def __init__(self, model: TextToLatent, source: LatentSource, lengths: np.ndarray) -> None:
        super().__init__(model)
        self.source, self.lengths = source, lengths
        self.clips = list(list_clips(source.data_dir, "train").items())

    def step(self, batch: list[tuple[int, int]], number: int) -> float:
        statistics, autoencoder = self.source.statistics, self.source.autoencoder
        items = []
        for index, _ in batch:
            clip = read_clip(self.source.data_dir, "train", *self.clips[index])
            normalized = statistics.normalize(clip.pose, clip.seen)
            energy = energies(statistics.denormalize(normalized), clip.seen, statistics)
            frames = np.array([[len(clip.pose)]], np.float32)
            arrays = {"pose": normalized, "present": presence(clip.seen), "energy": energy, "frames": frames}
            items.append({"id": clip.id, "text": clip.text, **arrays})
        content = collate(items)
        missing = LONGEST - content["pose"].shape[1]
        content["present"] = F.pad(content["present"], (0, 0, 0, missing))
        for name in ("pose", "energy"):
            content[name] = F.pad(content[name], (0, 0, 0, missing))
            content[f"{name}_mask"] = F.pad(content[f"{name}_mask"], (0, missing))
        content["cond"], content["cond_mask"] = self.run.model.text_encoder.encode(content["text"])
        with torch.no_grad():
            content["z"] = autoencoder.encode(content["pose"], content["present"], content["pose_mask"])
        content["z_mask"] = autoencoder.latent_mask(content["pose_mask"])
        draws = Draws.of(content["id"], SETTINGS.seed, number)
        with part_of(WholeBatch(draws, total=lambda part: part, share=1.0)):
            loss = flow_loss(self.run.model, content, draws)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.run.model.parameters(), SETTINGS.max_grad_norm)
        self.run.optimizer.step()
        self.run.schedule.step()
        self.run.optimizer.zero_grad(set_to_none=True)
        optimisation.update_ema(self.run.ema, self.run.model, SETTINGS.ema_decay, number + 1)
        return loss.item()


def make_loop(side: str, work: Path, data: Path, stride: int) -> Loop:
    """`ours`, `plain` as a script begins, or `plain_same`, under the same products and memory as ours."""
    if side != "plain":
        cpu.tune()
    encoder = open_text_encoder(str(work / "text_encoder"))
    autoencoder, statistics, content = load_autoencoder(work / f"autoencoder_{stride}.pt")
    source = LatentSource(autoencoder, statistics, content["fingerprint"], data, work / "cache", LONGEST, "resample")
    dataset = latent_dataset(source, "train", encoder, torch.device("cpu"))
    config = FlowConfig(
        cond_dim=encoder.dim, temporal_stride=stride, prior_type="simple", use_sync_guidance=True, dropout=0.0
    )
    torch.manual_seed(0)
    model = TextToLatent(LatentFlowMatcher(config), encoder)
    set_latent_scale(model, dataset.latents)
    set_sync_targets(model.net.sync_head, dataset.latents)
    return Ours(model, dataset) if side == "ours" else Plain(model, source, dataset.lengths)


def serve(connection: Connection, *made_of: object) -> None:
    """A process: makes its loop, then takes a step for each (batch, number) and answers loss and seconds."""
    loop = make_loop(*made_of)
    while True:
        connection.send("ready")
        if (task := connection.recv()) is None:
            return
        batch, number, count = task
        operations = FlopCounterMode(display=False) if count else contextlib.nullcontext()
        with operations:
            started = time.perf_counter()
            loss = loop.step(batch, number)
            seconds = time.perf_counter() - started
        connection.send((loss, seconds, operations.get_total_flops() if count else 0))


class Side:
    """A loop in a process of its own, and what its steps have cost and found."""

    def __init__(self, *made_of: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *made_of), daemon=True)
        self.process.start()
        self.connection.recv()
        self.losses, self.seconds, self.operations = [], [], 0

    def step(self, batch: list[tuple[int, int]], number: int, count: bool) -> None:
        self.connection.send((batch, number, count))
        loss, seconds, operations = self.connection.recv()
        self.connection.recv()
        self.losses.append(loss)
        if not count:
            self.seconds.append(seconds)
        self.operations += operations

    def stop(self) -> None:
        self.connection.send(None)
        self.process.join()


def measure(work: Path, data: Path, stride: int, num_batches: int) -> dict:
    write_autoencoder(work / f"autoencoder_{stride}.pt", data, stride)
    sides = {name: Side(name, work, data, stride) for name in ("ours", "plain", "plain_same")}
    lengths = -(-load_split(data, "train").lengths("pose") // stride)
    batches = list(LengthBatches(lambda epoch: lengths, BATCH, shuffle=True))[:num_batches]
    for number, batch in enumerate(2 * batches):  # the first half to warm up and to count operations
        for side in sides.values():
            side.step(batch, number, count=number < len(batches))
    for side in sides.values():
        side.stop()
    ours, plain, same = sides.values()
    clips = sum(len(batch) for batch in batches)
    rates = {name: clips / sum(side.seconds) for name, side in sides.items()}
    return {
        "clips": clips,
        "clips_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "ratio": round(rates["ours"] / rates["plain"], 2),
        "ratio_same_products": round(rates["ours"] / rates["plain_same"], 2),
        "arithmetic": round(plain.operations / ours.operations, 2),
        "gflops": {name: round(side.operations / sum(side.seconds) / 1e9) for name, side in sides.items()},
        "losses": {name: [round(loss, 6) for loss in side.losses] for name, side in sides.items()},
        "largest_relative_difference": max(
            abs(a - b) / b for side in (plain, same) for a, b in zip(ours.losses, side.losses, strict=True)
        ),
    }


def describe(report: dict[int, dict]) -> list[str]:
    """The section's paragraphs and table; figures by temporal stride."""
    return [
        paragraph(
            "`benchmarks/training.py --write` measured this section: a training step of stage 2 (flow with prior and "
            f"sync head, default sizes, {BATCH} clips of {SHORTEST} to {LONGEST} frames, texts of {WORDS} words, an "
            f"encoder of BERT's size), {machine()}. The plain loop reads files and runs both encoders in every step, "
            f"pads to {LONGEST} frames and uses PyTorch's default AdamW. Each side is a process of its own; the sides "
            "take turns."
        ),
        paragraph(
            "*Same products*: ours / plain where the plain loop also multiplies by oneDNN and keeps freed memory. "
            "*Operations*: those of plain / ours, which is all that caching and batching can gain. *Loss difference*: "
            "the largest relative difference between a loss of ours and of the plain loop."
        ),
        table(
            [
                "temporal stride",
                "ours, clips/s",
                "plain, clips/s",
                "ours / plain",
                "same products",
                "operations",
                "loss difference",
            ],
            [
                [
                    stride,
                    *(figures["clips_per_second"][side] for side in ("ours", "plain")),
                    *(figures[key] for key in ("ratio", "ratio_same_products", "arithmetic")),
                    f"{figures['largest_relative_difference']:.0e}",
                ]
                for stride, figures in report.items()
            ],
        ),
    ]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--temporal_stride", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--num_batches", type=int, default=4)
    args = parser.parse_args()
    work = args.work_dir / "training"
    data = work / f"data_{args.num_batches}"
    if not (data / STATISTICS_FILE).is_file():
        make_data(data, BATCH * args.num_batches)
    make_text_encoder(work / "text_encoder")
    report = {stride: measure(work, data, stride, args.num_batches) for stride in args.temporal_stride}
    print_json({"onednn": cpu.prefer_onednn(), **{f"stride_{stride}": figures for stride, figures in report.items()}})
    if args.write:
        write_section("Training", *describe(report))


if __name__ == "__main__":
    main()
