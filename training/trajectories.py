"""What a student learns from: its teacher's trajectories, for the texts of train and for texts joined from them.

A teacher signs any text, so a trajectory needs no clip. A student that sees only the texts of a small data set learns
them by heart, and departs from its teacher on all others.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor

from dataset import LatentDataset, collate
from models.consistency_distillation import teacher_trajectory
from models.flow_matching import DEFAULT_SOLVER
from models.guidance import TEXT_GUIDANCE_END, field_jumps
from models.latent_predictor import sample_start
from models.layers import lengths_to_mask
from models.sampling_settings import SamplingSettings
from models.sync_guidance import SYNC_INTERVAL
from models.text_encoder import PretrainedTextEncoder
from models.text_to_latent import TextToLatent
from poses.pack import Item, Items, Pack, cached_pack, digest
from runtime.console import say
from runtime.processes import broadcast_from_first
from training.latents import LatentSource, conditions, shared_items, text_pack

DOING = "teacher's trajectories"
TRAJECTORIES_VERSION = 6  # raised when the same starts, teacher and arguments give other trajectories


@dataclass(frozen=True)
class Start:
    """Where a trajectory begins: what is signed, by whom ('' where the data do not tell), and in how many latents.

    num_latents: None for as many as the teacher predicts.
    """

    id: str
    text: str
    signer: str = ""
    num_latents: int | None = None


def starts_of_clips(clips: LatentDataset) -> list[Start]:
    """The clips' texts, at the clips' own lengths."""
    return [Start(**clips.names(index), num_latents=int(clips.lengths[index])) for index in range(len(clips))]


def train_starts(starts: Sequence[Start], per_clip: int, joined_texts: float, seed: int) -> list[Start]:
    """`per_clip` starts for each of train's `starts`: a share `joined_texts` of them, but not all, has joined texts."""
    num_joined = min(round(joined_texts * per_clip), per_clip - 1)
    say(f"trajectories: {per_clip} for each train clip, {num_joined} of them of joined texts")
    return [*starts * (per_clip - num_joined), *join_starts(starts, num_joined, seed)]


def joined(first: str, second: str, share: float) -> str:
    """The first `share` of one text's words, then the other's words without its first `share`."""
    head, tail = first.split(), second.split()
    return " ".join(head[: round(share * len(head))] + tail[round(share * len(tail)) :]) or first


def join_starts(starts: Sequence[Start], copies: int, seed: int) -> list[Start]:
    """`copies` starts for each of `starts`: the beginning of its text and the end of another's, by its signer.

    Blanks divide words. Two texts of one word each give one of the two.
    """
    rng = np.random.default_rng([seed, 1])
    made = []
    for number in range(copies * len(starts)):
        start, other = starts[number % len(starts)], starts[int(rng.integers(len(starts)))]
        text = joined(start.text, other.text, rng.uniform())
        made.append(Start(f"joined text {number}", text, start.signer))
    return made


@dataclass(frozen=True)
class TrajectorySampler:
    """A guided teacher, and how its trajectories are computed and kept.

    num_steps: ODE steps of a trajectory. num_segments: the parts into which the kept states divide its time. seed: of
    the noise that trajectories start from.
    """

    teacher: TextToLatent
    fingerprint: str  # of the teacher's checkpoint
    num_steps: int
    num_segments: int
    seed: int

    def made_from(self) -> dict[str, object]:
        """What decides a trajectory besides its start, as plain values."""
        config = dataclasses.asdict(self.teacher.net.config)  # gamma_guidance and more, which weights do not tell
        del config["prior_checkpoint"]  # the weights include the prior
        return {
            "teacher": self.fingerprint,
            "config": config,
            "num_teacher_steps": self.num_steps,
            "solver": DEFAULT_SOLVER,
            "guided_within": [TEXT_GUIDANCE_END, SYNC_INTERVAL],
            "num_segments": self.num_segments,
            "seed": self.seed,
        }

    def noise_seed(self, start: Start, number: int) -> int:
        """The seed of a trajectory's noise, which neither dev nor a user's seed shares with train."""
        return int(digest([self.seed, start.id, number])[:15], 16)

    def sample(self, cond: Tensor, cond_mask: Tensor, mask: Tensor, seeds: Sequence[int]) -> Tensor:
        """The states along one trajectory for each text, [B,N,(num_segments+1)*D], the times side by side.

        cond [B,L,C] and cond_mask [B,L]: the texts; mask [B,N]: their latents.
        """
        net = self.teacher.net
        settings = net.resolve(SamplingSettings(self.num_steps))  # not the steps that it samples in by default
        z_0 = sample_start(net.mean, seeds, cond, cond_mask, mask, net.config.latent_dim)
        velocity = net.guided_field(cond, cond_mask, mask, settings)
        states = teacher_trajectory(velocity, z_0, self.num_steps, self.num_segments, field_jumps(settings))
        return states.transpose(1, 2).flatten(2)  # from [B,S+1,N,D]


@torch.no_grad()
def trajectory_pack(
    sampler: TrajectorySampler, starts: Sequence[Start], texts: Pack | None, source: LatentSource, batch_size: int = 64
) -> Pack:
    """The guided teacher's states along the trajectory of each start, computed once; each has noise of its own.

    Field `states` [N,(num_segments+1)*D]. texts: frozen embeddings; None: the teacher's own text encoder reads.
    """
    teacher = sampler.teacher
    device = teacher.latent_mean.device
    max_frames = teacher.net.config.max_frames or source.max_seq_len
    made_from = {
        "starts": digest([dataclasses.astuple(start) for start in starts]),
        "max_frames": max_frames,
        **sampler.made_from(),
    }
    index_of = {text: index for index, text in enumerate(texts.texts)} if texts else {}

    def condition_on(batch: Sequence[Start]) -> tuple[Tensor, Tensor]:
        items = [{"text": start.text, "signer": start.signer} for start in batch]
        if texts:
            items = [item | {"cond": texts.field("cond", index_of[item["text"]])} for item in items]
        return conditions(teacher, send_to_device(collate(items), device))

    def predict_lengths(open_starts: Sequence[Start]) -> list[int]:
        """How many latents the teacher gives to each text."""
        lengths: list[int] = []
        for first in range(0, len(open_starts), batch_size):
            frames = teacher.predict_frames(*condition_on(open_starts[first : first + batch_size]))
            lengths += source.autoencoder.num_latents(frames.clamp(max=max_frames)).tolist()
        return broadcast_from_first(lengths)  # rounding may differ between processes

    def sample(batch: Sequence[Start], first: int) -> list[tuple[str, str, Item]]:
        """The trajectories of starts of known lengths; `first`: the number of the first."""
        mask = lengths_to_mask(torch.tensor([start.num_latents for start in batch], device=device))  # [B,N]
        seeds = [sampler.noise_seed(start, number) for number, start in enumerate(batch, first)]
        states = sampler.sample(*condition_on(batch), mask, seeds).float().cpu().numpy()
        return [
            (f"{start.id}#{number}", start.text, {"states": row[: start.num_latents]})
            for number, (start, row) in enumerate(zip(batch, states, strict=True), first)
        ]

    def items() -> Items:
        lengths = iter(predict_lengths([start for start in starts if start.num_latents is None]))
        known = [replace(start, num_latents=start.num_latents or next(lengths)) for start in starts]
        known.sort(key=lambda start: start.num_latents)
        firsts = range(0, len(known), batch_size)
        return shared_items(lambda first: sample(known[first : first + batch_size], first), firsts, DOING)

    return cached_pack(source.cache_dir, "trajectories", TRAJECTORIES_VERSION, made_from, items)


def trajectory_dataset(sampler: TrajectorySampler, starts: Sequence[Start], source: LatentSource) -> LatentDataset:
    """The trajectories of `starts` as a data set."""
    encoder, texts = sampler.teacher.text_encoder, None
    if isinstance(encoder, PretrainedTextEncoder):
        texts = text_pack(encoder, [start.text for start in starts], source.cache_dir)
    pack = trajectory_pack(sampler, starts, texts, source)
    signer_of = {start.id: start.signer for start in starts}
    named = any(signer_of.values())
    return LatentDataset(
        pack, texts, {name: signer_of[name.rpartition("#")[0]] for name in pack.ids} if named else None
    )
