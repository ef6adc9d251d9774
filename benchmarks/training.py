"""A step of stage 2, flow training at default sizes, against a plain loop on the same model. Prints JSON.

    python benchmarks/training.py                        # temporal stride 1 and 4; 2 minutes on 2 cores

Lengths are uniform, 20 to 120 frames, 32 clips a batch, texts of 20 words, an encoder of BERT-base's size. The plain
loop reads each clip's .npz and .pkl, runs the text encoder and the autoencoder's encoder in every step, pads every
batch to --max_seq_len, and takes PyTorch's default AdamW, not the fused one. Both go through the same batches from the
same weights with the same noise, in turns, a batch each, so that what else the machine does meets both: `ratio` is of
clips a second, `losses` are both curves (dropout is off, or the two would draw other masks). `ratio_same_products`
compares with the plain loop under the matrix products that this project chooses (models/arithmetic.py): what is left is
the share of caching, batching, reading and the fused optimiser.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import make_text_encoder
from generated import ROOT, run_script, write_autoencoder, write_split

from dataset import LengthBatches, collate
from models.arithmetic import prefer_onednn, uses_onednn
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.text_encoder import PretrainedTextEncoder
from models.text_to_latent import TextToLatent
from poses.files import list_clips, read_clip
from train_stage2_latent_flow import loss as flow_loss
from training import engine
from training.checkpoint import load_autoencoder
from training.latents import LatentSource, energies, latent_dataset, set_latent_scale, set_sync_targets

SHORTEST, LONGEST, BATCH, WORDS = 20, 120, 32, 20
SETTINGS = engine.TrainSettings(output_dir="", batch_size=BATCH)


def make_data(folder: Path, clips: int) -> None:
    lengths = np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, clips).tolist()
    for split, frames in (("train", lengths), ("dev", [50] * 2), ("test", [50] * 2)):
        write_split(folder, split, frames, num_texts=len(frames), words=WORDS)
    run_script("data_preparation.py", "--data_dir", folder)


class OneBatch(list):
    """A sampler of one batch, which the engine tells the epoch."""

    epoch = 0


class Loop:
    """A copy of the model with its optimiser, and what a step has cost and found so far."""

    def __init__(self, model: TextToLatent, fused: bool = False) -> None:
        self.model = copy.deepcopy(model).train()
        self.ema = copy.deepcopy(model)
        self.optimizer = torch.optim.AdamW(engine._parameter_groups(self.model, 0.01), 1e-4, (0.9, 0.99), fused=fused)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)
        self.seconds, self.losses = [], []

    def step(self, batch: list[tuple[int, int]], number: int) -> None:
        started = time.perf_counter()
        self.losses.append(self._step(batch, number))
        self.seconds.append(time.perf_counter() - started)


class Ours(Loop):
    """The engine's own epoch, of one batch."""

    def __init__(self, model: TextToLatent, dataset: torch.utils.data.Dataset) -> None:
        super().__init__(model, fused=True)  # as the engine's
        self.dataset, self.accelerator = dataset, engine.make_accelerator("no")
        self.objective = engine._Objective(self.model, flow_loss)

    def _step(self, batch: list[tuple[int, int]], number: int) -> float:
        loader = torch.utils.data.DataLoader(self.dataset, batch_sampler=OneBatch([batch]), collate_fn=collate)
        progress = {"epoch": number, "step": number}
        losses = engine._train_epoch(
            self.accelerator, self.objective, self.ema, self.optimizer, self.schedule, loader, SETTINGS, progress
        )
        return losses["loss"]


class Plain(Loop):
    """Everything afresh in every step, every batch as long as the longest clip may be."""

    def __init__(self, model: TextToLatent, source: LatentSource, lengths: np.ndarray) -> None:
        super().__init__(model)
        self.source, self.lengths = source, lengths
        self.clips = list(list_clips(source.data_dir, "train").items())

    def _step(self, batch: list[tuple[int, int]], number: int) -> float:
        statistics, autoencoder = self.source.statistics, self.source.autoencoder
        items = []
        for index, _ in batch:
            clip = read_clip(self.source.data_dir, "train", *self.clips[index])
            normalized = statistics.normalize(clip.pose, clip.seen)
            energy = energies(statistics.denormalize(normalized), clip.seen, statistics)
            items.append({"id": clip.id, "text": clip.text, "pose": normalized, "energy": energy})
        content = collate(items)
        for name in ("pose", "energy"):
            missing = LONGEST - content[name].shape[1]
            content[name] = F.pad(content[name], (0, 0, 0, missing))
            content[f"{name}_mask"] = F.pad(content[f"{name}_mask"], (0, missing))
        content["cond"], content["cond_mask"] = self.model.text_encoder.encode(content["text"])
        with torch.no_grad():
            content["z"] = autoencoder.encode(content["pose"], content["pose_mask"])
        content["z_mask"] = autoencoder.latent_mask(content["pose_mask"])
        generator = torch.Generator().manual_seed(engine._seed(SETTINGS.seed, number, 0, 0))
        with noise_of(int(self.lengths[[index for index, _ in batch]].max())):
            loss = flow_loss(self.model, content, generator)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), SETTINGS.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        engine._update_ema(self.ema, self.model, SETTINGS.ema_decay, number + 1)
        return loss.item()


@contextmanager
def noise_of(latents: int) -> Iterator[None]:
    """Let noise [B,N,D] be what a batch of so many latents draws, zero beyond, so that padding changes no loss."""
    draw = torch.randn

    def padded(*shape: object, **options: object) -> torch.Tensor:
        if not (isinstance(shape[0], torch.Size) and len(shape[0]) == 3):
            return draw(*shape, **options)
        clips, longest, dim = shape[0]
        return F.pad(draw(clips, latents, dim, **options), (0, 0, 0, longest - latents))

    with mock.patch("torch.randn", padded):
        yield


@contextmanager
def default_products() -> Iterator[None]:
    """PyTorch's own choice of matrix products."""
    precision, torch.backends.mkldnn.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision, "ieee"
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = precision


def measure(work: Path, data: Path, encoder: PretrainedTextEncoder, stride: int, num_batches: int) -> dict:
    checkpoint = work / f"autoencoder_{stride}.pt"
    write_autoencoder(checkpoint, data, stride)
    autoencoder, statistics, content = load_autoencoder(checkpoint)
    source = LatentSource(autoencoder, statistics, content["fingerprint"], data, work / "cache", LONGEST, "resample")
    started = time.perf_counter()
    dataset = latent_dataset(source, "train", encoder, torch.device("cpu"))
    once = time.perf_counter() - started
    config = FlowConfig(
        cond_dim=encoder.dim, temporal_stride=stride, prior_type="simple", use_sync_guidance=True, dropout=0.0
    )
    torch.manual_seed(0)
    model = TextToLatent(LatentFlowMatcher(config), encoder)
    set_latent_scale(model, dataset.latents)
    set_sync_targets(model.net.sync_head, dataset.latents)

    ours, plain, quick = Ours(model, dataset), Plain(model, source, dataset.lengths), None
    if uses_onednn():
        quick = Plain(model, source, dataset.lengths)
    batches = list(LengthBatches(dataset.lengths, BATCH, shuffle=True))[:num_batches]
    for number, batch in enumerate([batches[-1], *batches]):  # the first one for warming up
        ours.step(batch, number)
        with default_products():
            plain.step(batch, number)
        if quick is not None:
            quick.step(batch, number)
    clips = sum(len(batch) for batch in batches)
    seconds, plain_seconds = (sum(loop.seconds[1:]) for loop in (ours, plain))
    difference = max(abs(a - b) / b for a, b in zip(ours.losses, plain.losses, strict=True))
    report = {
        "once_seconds": round(once, 1), "clips": clips,
        "clips_per_second": round(clips / seconds, 2), "plain_clips_per_second": round(clips / plain_seconds, 2),
        "ratio": round(plain_seconds / seconds, 2),
    }  # fmt: skip
    if quick is not None:
        report["ratio_same_products"] = round(sum(quick.seconds[1:]) / seconds, 2)
    losses = {"ours": [round(v, 6) for v in ours.losses], "plain": [round(v, 6) for v in plain.losses]}
    return {**report, "losses": losses, "largest_relative_difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", type=Path, default=ROOT / "runs" / "benchmark_training")
    parser.add_argument("--temporal_stride", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--num_batches", type=int, default=4)
    args = parser.parse_args()
    data, encoder = args.work_dir / f"data_{args.num_batches}", args.work_dir / "text_encoder"
    if not (data / "normalization_stats.npz").is_file():
        make_data(data, BATCH * args.num_batches)
    text_encoder = PretrainedTextEncoder(str(make_text_encoder(encoder)))
    report = {"torch_threads": torch.get_num_threads(), "onednn": prefer_onednn()}
    for stride in args.temporal_stride:
        report[f"stride_{stride}"] = measure(args.work_dir, data, text_encoder, stride, args.num_batches)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
