"""What a student learns from: its teacher's trajectories, for the texts of train and for texts that are joined of them.

A teacher signs any text, so a trajectory needs no clip. From the texts of train alone a student of a small data set
learns them by heart, and strays from its teacher on all others.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor

from dataset import LatentDataset, collate
from models.consistency_distillation import teacher_trajectory
from models.flow_matching import DEFAULT_SOLVER, sample_noise
from models.latent_flow_matcher import FlowConfig
from models.layers import lengths_to_mask
from models.text_to_latent import TextToLatent
from poses.pack import Item, Items, Pack, cached_pack, digest
from training.latents import LatentSource, conditions, shared_items

TRAJECTORIES_VERSION = 4  # raised when the same starts, teacher and arguments give other trajectories


@dataclass(frozen=True)
class Start:
    """Where a trajectory begins: what is signed, in how many latents, and by whom ('' where the data do not tell)."""

    id: str
    text: str
    num_latents: int
    signer: str = ""


def starts_of_clips(clips: LatentDataset) -> list[Start]:
    """The clips' texts, at the clips' own lengths."""
    items = (clips[(index, 0)] for index in range(len(clips)))
    return [Start(item["id"], item["text"], len(item["z"]), item.get("signer", "")) for item in items]


def joined(first: str, second: str, share: float) -> str:
    """The first `share` of one text's words, and of the other's all but so many."""
    head, tail = first.split(), second.split()
    return " ".join(head[: round(share * len(head))] + tail[round(share * len(tail)) :]) or first


@torch.no_grad()
def join_starts(
    starts: Sequence[Start], copies: int, source: LatentSource, teacher: TextToLatent, seed: int, batch_size: int = 64
) -> list[Start]:
    """`copies` texts for each of `starts`: its beginning, and the end of another's, as the same signer signs them.

    A length is what the teacher predicts. Words are what blanks divide: of two texts of one word each, it is one.
    """
    rng = np.random.default_rng([seed, 1])
    made = []
    for number in range(copies * len(starts)):
        start, other = starts[number % len(starts)], starts[int(rng.integers(len(starts)))]
        text = joined(start.text, other.text, rng.uniform())
        made.append(dataclasses.replace(start, id=f"joined text {number}", text=text))
    longest = teacher.net.config.max_frames or source.max_seq_len
    lengths: list[int] = []
    for first in range(0, len(made), batch_size):
        batch = made[first : first + batch_size]
        cond, cond_mask = teacher.embed_text([start.text for start in batch])
        cond = teacher.by_signer(cond, [start.signer for start in batch])
        frames = teacher.predict_frames(cond, cond_mask).clamp(max=longest)
        lengths += source.autoencoder.num_latents(frames).tolist()
    return [dataclasses.replace(start, num_latents=length) for start, length in zip(made, lengths, strict=True)]


def _without_prior_checkpoint(config: FlowConfig) -> dict[str, object]:
    """A teacher's configuration but for where its prior is from: the weights tell what became of it."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "prior_checkpoint"}


@torch.no_grad()
def trajectory_pack(
    teacher: TextToLatent,
    fingerprint: str,
    starts: Sequence[Start],
    texts: Pack | None,
    cache_dir: Path,
    *,
    num_teacher_steps: int,
    guidance_scale: float,
    num_segments: int,
    seed: int,
    batch_size: int = 64,
) -> Pack:
    """The guided teacher's states along the trajectory of each start, computed once; each has noise of its own.

    Field `states` [N,(num_segments+1)*D], the times side by side. texts: frozen embeddings; None: the teacher reads.
    """
    made_from = {
        "starts": digest([dataclasses.astuple(start) for start in starts]),
        "teacher": fingerprint,
        "config": _without_prior_checkpoint(teacher.net.config),  # gamma_guidance and more, which weights do not tell
        "num_teacher_steps": num_teacher_steps,
        "guidance_scale": guidance_scale,
        "solver": DEFAULT_SOLVER,
        "num_segments": num_segments,
        "seed": seed,
    }
    device, dim = teacher.latent_mean.device, teacher.net.config.latent_dim
    ordered = sorted(starts, key=lambda start: start.num_latents)
    place = {text: index for index, text in enumerate(texts.texts)} if texts else {}

    def condition_on(batch: Sequence[Start]) -> tuple[Tensor, Tensor]:
        items = [{"text": start.text, "signer": start.signer} for start in batch]
        if texts:
            items = [item | {"cond": texts.field("cond", place[item["text"]])} for item in items]
        return conditions(teacher, send_to_device(collate(items), device))

    def sample(first: int) -> list[tuple[str, str, Item]]:
        batch = ordered[first : first + batch_size]
        lengths = [start.num_latents for start in batch]
        mask = lengths_to_mask(torch.tensor(lengths, device=device))
        seeds = [seed * 1_000_003 + first + row for row in range(len(batch))]
        z_0 = sample_noise(seeds, lengths, dim).to(device)
        velocity = teacher.net.guided_field(*condition_on(batch), mask, guidance_scale)
        states = teacher_trajectory(velocity, z_0, num_teacher_steps, num_segments)  # [B,S+1,N,D]
        states = states.transpose(1, 2).flatten(2).float().cpu().numpy()
        return [
            (f"{start.id}#{first + row}", start.text, {"states": states[row, : start.num_latents]})
            for row, start in enumerate(batch)
        ]

    def items() -> Items:
        return shared_items(sample, range(0, len(ordered), batch_size), "teacher's trajectories")

    return cached_pack(cache_dir, "trajectories", TRAJECTORIES_VERSION, made_from, items)
