"""A data set's clips and latents as batches: read from memory-mapped packs, padded, in an order fixed by the seed."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from models.layers import lengths_to_mask
from poses import layout
from poses.interpolation import resample, resample_seen
from poses.pack import Pack
from poses.presence import presence
from poses.statistics import Statistics
from poses.texts import says_something
from runtime.parallel import as_loader_worker

Item = dict[str, np.ndarray | str]  # of one clip
Batch = dict[str, torch.Tensor | list[str]]
_POOL = 50  # batches whose clips are sorted by length together: wide enough to save padding, narrow enough to shuffle


def augment(
    pose: np.ndarray, seen: np.ndarray, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The clip as if signed at another speed, before a camera moved slightly: pose, seen [T,214] -> [T',214].

    Speed within a quarter, size within a tenth, turned by up to 5 degrees and moved by up to 0.05, times `strength`.
    The turn is computed in image units (0 to 1 across the width and down the height), so in a picture that is not
    square it is slightly a shear.
    """
    low, high = np.log(0.8), np.log(1.25)
    length = max(2, round(len(pose) * np.exp(strength * rng.uniform(low, high))))
    pose, seen = resample(pose, length), resample_seen(seen, length)
    angle, scale = strength * np.radians(rng.uniform(-5, 5)), 1 + strength * rng.uniform(-0.1, 0.1)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    points = layout.frame_to_keypoints(pose)
    moved = (points - 0.5) @ turn.T + (0.5 + strength * rng.uniform(-0.05, 0.05, 2)).astype(np.float32)
    return layout.keypoints_to_frame(moved, pose[:, layout.NMM]), seen


class PoseDataset(Dataset):
    """Clips of a split: pose [T,214] normalised, seen [T,214] bool, present [T,3] bool, text, id.

    Clips longer than `max_seq_len` are cut to a window that depends only on (seed, epoch, index) (`long_clips="crop"`),
    or resampled to that length ("resample"), which keeps all of a sentence with its text. An item's key is
    (index, epoch). mixed_faces: the share of clips that get the face of another one, resampled to their length; each
    epoch draws these clips and faces anew. chosen: the indices in the pack of the data set's clips; default all.
    """

    def __init__(
        self,
        pack: Pack,
        statistics: Statistics,
        max_seq_len: int,
        long_clips: str = "resample",
        seed: int = 0,
        augmentation: float = 0.0,
        *,
        mixed_faces: float = 0.0,
        chosen: Sequence[int] | None = None,
    ) -> None:
        self.pack, self.statistics = pack, statistics
        self.augmentation, self.mixed_faces = augmentation, mixed_faces
        self.max_seq_len, self.long_clips, self.seed = max_seq_len, long_clips, seed
        self._chosen = np.arange(len(pack)) if chosen is None else np.asarray(chosen)
        self.lengths = np.minimum(pack.lengths("pose"), max_seq_len)[self._chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def lengths_in(self, epoch: int) -> np.ndarray:
        return self.lengths

    def __getitem__(self, key: tuple[int, int]) -> Item:
        index, epoch = int(self._chosen[key[0]]), key[1]
        pose, seen = self.pack.field("pose", index), self.pack.field("seen", index).astype(bool)
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.augmentation > 0:
            pose, seen = augment(pose, seen, self.augmentation, rng)
        if self.mixed_faces > 0 and rng.uniform() < self.mixed_faces:
            other = int(self._chosen[rng.integers(len(self))])
            face, face_seen = (self.pack.field(name, other)[:, layout.NMM] for name in ("pose", "seen"))
            pose, seen = pose.copy(), seen.copy()
            pose[:, layout.NMM] = resample(face, len(pose))
            seen[:, layout.NMM] = resample_seen(face_seen.astype(bool), len(pose))
        if len(pose) > self.max_seq_len:
            if self.long_clips == "crop":
                start = rng.integers(len(pose) - self.max_seq_len + 1)
                pose, seen = (values[start : start + self.max_seq_len] for values in (pose, seen))
            else:
                pose = resample(pose, self.max_seq_len)
                seen = resample_seen(seen, self.max_seq_len)
        return {
            "id": self.pack.ids[index],
            "text": self.pack.texts[index],
            "pose": self.statistics.normalize(pose, seen),
            "seen": seen,
            "present": presence(seen),
        }


class LatentDataset(Dataset):
    """Stages 2 and 3: a pack's arrays of each clip, its text, and the text's frozen embedding `cond` [L,C] if any.

    Stage 2's packs hold latents z [N,D] and motion energy [T,2], stage 3's the states of trajectories [N,(S+1)*D].
    signers: who signs each clip, by the IDs of the pack; empty if the data set does not say.
    labelled: leave out the clips without a text. Attributes of the clips that are left: `has_text` [N] bool, and
    `num_unlabelled`, the number of clips without a text.
    """

    def __init__(
        self,
        latents: Pack,
        texts: Pack | None = None,
        signers: Mapping[str, str] | None = None,
        *,
        labelled: bool = False,
    ) -> None:
        self.latents, self.texts, self.signers = latents, texts, signers or {}
        has_text = np.array([says_something(text) for text in latents.texts], bool)
        self._chosen = np.flatnonzero(has_text) if labelled else np.arange(len(latents))
        self.has_text = has_text[self._chosen]
        self.num_unlabelled = int((~self.has_text).sum())
        self.lengths = latents.lengths("z" if "z" in latents.fields else "states")[self._chosen]
        self._text_index = {text: i for i, text in enumerate(texts.texts)} if texts else {}

    def __len__(self) -> int:
        return len(self._chosen)

    def lengths_in(self, epoch: int) -> np.ndarray:
        return self.lengths

    def names(self, number: int) -> dict[str, str]:
        """A clip's id and text, and its signer if the data set names it; reads none of its arrays."""
        index = int(self._chosen[number])
        names = {"id": self.latents.ids[index], "text": self.latents.texts[index]}
        return names | ({"signer": self.signers[names["id"]]} if self.signers else {})

    def __getitem__(self, key: tuple[int, int]) -> Item:
        names = self.names(key[0])
        item = {**names, **self.latents[int(self._chosen[key[0]])]}
        if self.texts:
            item["cond"] = self.texts.field("cond", self._text_index[names["text"]])
        return item


def collate(items: list[Item]) -> Batch:
    """Pad every array `x` of the items to the longest of the batch, [B,T,...], with a mask `x_mask` [B,T] bool.

    An array of bool (`seen`) is padded with False and needs no mask of its own.
    """
    batch: Batch = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        if isinstance(first, str):
            batch[name] = values
            continue
        lengths = torch.tensor([len(value) for value in values])
        dtype = torch.bool if first.dtype == bool else torch.float32
        padded = torch.zeros(len(values), int(lengths.max()), *first.shape[1:], dtype=dtype)
        for row, value in zip(padded, values, strict=True):
            row[: len(value)] = torch.from_numpy(np.array(value))
        batch[name] = padded
        if dtype != torch.bool:
            batch[f"{name}_mask"] = lengths_to_mask(lengths)
    return batch


class LengthBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (index, epoch) with similar lengths, in an order that depends only on (seed, epoch).

    Several processes divide every batch, so the batches are those of one process. If a batch has fewer clips than there
    are processes, the remaining processes repeat its first clip, and the repeat must not count.

    lengths_in: the clips' lengths in an epoch. `start`: the number of batches to skip at the beginning of an epoch that
    a run resumes.
    """

    def __init__(
        self,
        lengths_in: Callable[[int], np.ndarray],
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths_in, self.batch_size, self.shuffle, self.seed = lengths_in, batch_size, shuffle, seed
        self.rank, self.world_size, self.epoch, self.start = rank, world_size, 0, 0

    def __len__(self) -> int:
        return -(-len(self.lengths_in(self.epoch)) // self.batch_size)

    def whole(self) -> list[np.ndarray]:
        """The batches of the epoch that are left, each with the clips of all processes."""
        rng, lengths = np.random.default_rng([self.seed, self.epoch]), self.lengths_in(self.epoch)
        order = rng.permutation(len(lengths)) if self.shuffle else np.arange(len(lengths))
        pool = _POOL * self.batch_size
        batches = []
        for start in range(0, len(order), pool):
            group = order[start : start + pool]
            group = group[np.argsort(lengths[group], kind="stable")]
            batches += [group[i : i + self.batch_size] for i in range(0, len(group), self.batch_size)]
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches[self.start :]

    def clips(self) -> list[tuple[int, int]]:
        """The clips of each batch that is left: of the whole batch, and of this process."""
        return [(len(batch), len(batch[self.rank :: self.world_size])) for batch in self.whole()]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.whole():
            share = batch[self.rank :: self.world_size]
            yield [(int(index), self.epoch) for index in (share if len(share) else batch[:1])]


def make_loader(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader:
    """A loader whose `batch_sampler.epoch` is set before each epoch; the number of workers changes only the speed.

    dataset: its items' keys are (index, epoch), and `lengths_in(epoch)` gives the lengths of its clips.
    """
    sampler = LengthBatches(
        dataset.lengths_in, batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size
    )
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
        worker_init_fn=partial(as_loader_worker, os.getpid()),
    )
