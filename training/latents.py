"""What stage 2 trains on, computed once and kept on disk: latents with their motion energy, frozen text embeddings.

A pack's name depends on everything that it was computed from, so nothing outdated is read.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset import Batch, LatentDataset, PoseDataset, collate
from models.autoencoder import PoseAutoencoder, PoseSpace
from models.layers import ScaledLatents
from models.sync_guidance import SyncGuidanceHead
from models.text_encoder import PretrainedTextEncoder, TextEncoder
from models.text_to_latent import TextToLatent
from poses import layout
from poses.body_frame import FRAME_VERSION
from poses.interpolation import RESAMPLE_VERSION
from poses.motion import ENERGY_VERSION, face_energy, hand_energy, smoothed
from poses.pack import Item, Items, Pack, cached_pack, digest
from poses.presence import PRESENCE_VERSION
from poses.splits import load_split
from poses.statistics import Statistics
from poses.texts import list_signers, require_signers, says_something
from runtime.console import progress_bar, say
from runtime.errors import UserError
from runtime.processes import shared_map

# Raise a version when the same pack, weights or arguments give other content.
LATENTS_VERSION, TEXTS_VERSION = 4, 2
CONSTANT_STD = 0.1  # of a latent dimension that is constant in train: a dev clip that differs by 1 is then at 10
LEAST_STD = 0.01  # of a latent dimension that hardly ever changes in train
BATCH_SIZE = 64  # clips or texts that an encoder reads at a time


@dataclass(frozen=True)
class LatentSource:
    """The frozen autoencoder of stage 1, or the pose space in its place, and how clips are read."""

    autoencoder: PoseAutoencoder | PoseSpace
    statistics: Statistics
    fingerprint: str
    data_dir: Path
    cache_dir: Path
    max_seq_len: int
    long_clips: str
    skip_bad: bool = False
    packs: dict[str, Pack] = dataclasses.field(default_factory=dict, repr=False, compare=False)  # by split, once read

    def clips(self, split: str) -> Pack:
        """The poses of a split; the first call reads and checks its files."""
        if split not in self.packs:
            self.packs[split] = load_split(self.data_dir, split, self.cache_dir, self.skip_bad)
        return self.packs[split]

    def signers(self, split: str) -> dict[str, str]:
        """Who signs each clip of a split, by ID; empty if train does not say."""
        if split != "train" and not self.signers("train"):
            return {}
        named = list_signers(self.data_dir, split, self.clips(split).ids)
        if split != "train":
            require_signers(self.data_dir, split, named)
        return named

    def signer_names(self) -> list[str]:
        """The signers of train whose clips have a text, in alphabetical order; of others nothing is learnt."""
        named = self.signers("train")
        return sorted({named[clip_id] for clip_id in self.labelled_ids("train") if named})

    def labelled_ids(self, split: str) -> list[str]:
        """The clips of a split that have a text."""
        clips = self.clips(split)
        return [clip_id for clip_id, text in zip(clips.ids, clips.texts, strict=True) if says_something(text)]

    def in_space(self, space: str) -> "LatentSource":
        return dataclasses.replace(self, autoencoder=PoseSpace()) if space == "pose" else self


def energies(pose: np.ndarray, seen: np.ndarray, statistics: Statistics) -> np.ndarray:
    """Motion energy of hands and face [T,2] of a pose [T,214], smoothed, seen [T,214]; NaN where it was not seen.

    The first frame repeats the second; a single frame has none.
    """
    pose = smoothed(pose)
    hands = hand_energy(pose, seen)
    face = face_energy(pose, seen, statistics.std[layout.NMM])
    energy = np.stack([hands, face], axis=1).astype(np.float32)
    return np.concatenate([energy[:1], energy]) if len(energy) else np.full((1, 2), np.nan, np.float32)


def shared_items(make: Callable[[int], list[tuple[str, str, Item]]], starts: range, what: str) -> Items:
    """The items of all batches, which the processes share; `make(start)` makes the batch that begins at `start`."""
    batches = shared_map(make, starts, 0, at_a_time=1)
    for items in progress_bar(batches, what, "batch", total=len(starts)):
        yield from items


@torch.no_grad()
def latent_pack(source: LatentSource, split: str, device: torch.device) -> Pack:
    """The split's latents z [N,D], motion energies [T,2], and the frames [1,1] of the clip before it was squeezed."""
    poses = source.clips(split)
    made_from = {
        "split": poses.folder.name,
        "autoencoder": "pose space" if isinstance(source.autoencoder, PoseSpace) else source.fingerprint,
        "statistics": source.statistics.fingerprint,
        "max_seq_len": source.max_seq_len,
        "long_clips": source.long_clips,
        "resample": RESAMPLE_VERSION,
        "energy": ENERGY_VERSION,
        "presence": PRESENCE_VERSION if source.autoencoder.config.presence else None,
        "body_frame": FRAME_VERSION if source.autoencoder.config.body_frame else None,
    }
    dataset = PoseDataset(poses, source.statistics, source.max_seq_len, source.long_clips)
    model, whole = source.autoencoder.to(device), poses.lengths("pose")

    def encode(start: int) -> list[tuple[str, str, Item]]:
        made = []
        batch = collate([dataset[(i, 0)] for i in range(start, min(start + BATCH_SIZE, len(dataset)))])
        clips = (batch[name].to(device) for name in ("pose", "present", "pose_mask"))
        z = model.encode(*clips).float().cpu().numpy()
        for row, (clip_id, text) in enumerate(zip(batch["id"], batch["text"], strict=True)):
            frames = int(batch["pose_mask"][row].sum())
            pose = source.statistics.denormalize(batch["pose"][row, :frames].numpy())
            seen = batch["seen"][row, :frames].numpy()
            energy = energies(pose, seen, source.statistics)
            original = whole[start + row] if source.long_clips == "resample" else frames
            latents = z[row, : int(model.num_latents(frames))]
            arrays = {"z": latents, "energy": energy, "frames": np.array([[original]], np.float32)}
            made.append((clip_id, text, arrays))
        return made

    def items() -> Items:
        return shared_items(encode, range(0, len(dataset), BATCH_SIZE), f"encoding {split}")

    return cached_pack(source.cache_dir, f"latents-{split}", LATENTS_VERSION, made_from, items)


def text_pack(encoder: PretrainedTextEncoder, texts: list[str], cache_dir: Path) -> Pack:
    """The frozen embeddings `cond` [L,C] of the distinct texts, computed once."""
    distinct = sorted(set(texts))
    made_from = {"encoder": encoder.fingerprint, "texts": digest(distinct), "count": len(distinct)}

    def embed(start: int) -> list[tuple[str, str, Item]]:
        batch = distinct[start : start + BATCH_SIZE]
        cond, mask = encoder.encode(batch)
        rows = zip(batch, cond.float().cpu(), mask.cpu(), strict=True)
        return [(text, text, {"cond": row[keep].numpy()}) for text, row, keep in rows]

    def items() -> Items:
        return shared_items(embed, range(0, len(distinct), BATCH_SIZE), "embedding texts")

    return cached_pack(cache_dir, "texts", TEXTS_VERSION, made_from, items)


def latent_dataset(
    source: LatentSource, split: str, encoder: TextEncoder, device: torch.device, *, labelled: bool = False
) -> LatentDataset:
    """Stage 2's data of a split; a scratch encoder reads the texts themselves, so no embeddings are kept for it.

    labelled: leave out the clips without a text. Prints how many have none.
    """
    latents = latent_pack(source, split, device)
    texts = None
    if isinstance(encoder, PretrainedTextEncoder):
        texts = text_pack(encoder, latents.texts, source.cache_dir)
    dataset = LatentDataset(latents, texts, source.signers(split), labelled=labelled)
    no_text = f"of {len(latents)} {split} clips have no text"
    if left_out := len(latents) - len(dataset):
        print(f"{left_out} {no_text} and are left out")
    elif dataset.num_unlabelled and split == "train":
        say(f"{dataset.num_unlabelled} {no_text}: they train the prior, if there is one, and the unconditional branch")
    return dataset


def has_text(batch: Batch, device: torch.device) -> Tensor:
    """Which clips of a batch have a text, [B] bool."""
    return torch.tensor([says_something(text) for text in batch["text"]], device=device)


def conditions(model: TextToLatent, batch: Batch) -> tuple[Tensor, Tensor]:
    """A batch's text embeddings [B,L,C] for its signers, and mask [B,L]: from the pack, or from the scratch encoder."""
    cond, cond_mask = (batch["cond"], batch["cond_mask"]) if "cond" in batch else model.embed_text(batch["text"])
    return model.by_signer(cond, batch.get("signer") or [""] * len(cond)), cond_mask


def set_latent_scale(model: ScaledLatents, latents: Pack) -> None:
    """Give the model the mean and std of each latent dimension over train.

    A dimension that is constant there, such as the presence of a face that is always seen, gets CONSTANT_STD.
    """
    count, total, squares = 0, 0.0, 0.0
    for index in range(len(latents)):
        z = latents.field("z", index).astype(np.float64)
        count, total, squares = count + len(z), total + z.sum(0), squares + (z**2).sum(0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    model.latent_mean.copy_(torch.from_numpy(mean))
    model.latent_std.copy_(torch.from_numpy(np.where(std < 1e-4, CONSTANT_STD, np.maximum(std, LEAST_STD))))


def set_sync_targets(head: SyncGuidanceHead, latents: Pack) -> None:
    """Give the sync head the energies' scale and the mean hand-face correlation of the train clips.

    Raises UserError if no clip shows both hands and face.
    """
    energy = [latents.field("energy", index) for index in range(len(latents))]
    both = [clip[np.isfinite(clip).all(1)] for clip in energy]
    if not sum(map(len, both)):
        raise UserError(
            "no train clip of two frames or more shows a hand and the face together; leave --use_sync_guidance out"
        )
    correlations = [np.corrcoef(clip.T)[0, 1] for clip in both if len(clip) > 2 and (clip.std(0) > 1e-8).all()]
    known = sum(np.isfinite(clip).sum(0) for clip in energy)
    scale = sum(np.nansum(clip, axis=0, dtype=np.float64) for clip in energy) / known
    head.energy_scale.copy_(torch.from_numpy(np.maximum(scale, 1e-8)))
    head.target_correlation.fill_(float(np.mean(correlations)) if correlations else 0.0)
