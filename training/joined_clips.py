"""Stage 2's train clips, two and two (--joined_clips), so that a small data set is not learnt by heart."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from dataset import Item, LatentDataset
from models.text_encoder import TextEncoder
from runtime.console import say
from runtime.errors import UserError
from training.latents import LatentSource

_TRIES = 8  # draws until a second clip fits, at most


class JoinedClips(Dataset):
    """Stage 2's train clips, of which a share is followed by a second clip, with both texts.

    A network learns few texts by heart. In joined ones it meets their words at other times and in other company. An
    item's key is (index, epoch): each epoch joins other clips. Only clips with a text are joined, of one signer if the
    data set names signers, and only if the two have at most `max_latents` latents and `max_tokens` tokens together. The
    body of the second clip moves to the place of the first.

    num_tokens [N]: of the clips' texts. stride: frames per latent. place: index in a latent where the numbers of the
    body's place begin.
    """

    def __init__(
        self,
        clips: LatentDataset,
        share: float,
        seed: int,
        *,
        num_tokens: Sequence[int],
        max_tokens: int,
        max_latents: int,
        stride: int,
        place: int,
    ) -> None:
        self.clips, self.latents, self.num_unlabelled = clips, clips.latents, clips.num_unlabelled
        self.share, self.seed, self.stride, self.place = share, seed, stride, place
        self.max_latents, self.max_tokens, self.num_tokens = max_latents, max_tokens, np.asarray(num_tokens)
        signers = [clips.names(number).get("signer", "") for number in range(len(clips))]
        _, signer, counts = np.unique(signers, return_inverse=True, return_counts=True)
        self._by_signer = np.argsort(signer, kind="stable")
        self._count = counts[signer]  # [N] clips of the same signer
        self._first = (np.cumsum(counts) - counts)[signer]  # [N] where they begin in `_by_signer`
        self._kept = (-1, np.empty(0, int))  # the last epoch asked for, and its followers

    def __len__(self) -> int:
        return len(self.clips)

    def followers(self, epoch: int) -> np.ndarray:
        """The clip that follows each one in this epoch, [N]; -1 for none."""
        if self._kept[0] != epoch:
            self._kept = epoch, self._draw(epoch, self.share)
        return self._kept[1]

    def can_join(self) -> bool:
        """Whether any clip finds one that can follow it, if all look for one."""
        return bool((self._draw(1, share=1.0) >= 0).any())

    def _draw(self, epoch: int, share: float) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch, len(self)])
        undecided = self.clips.has_text & (rng.uniform(size=len(self)) < share)
        followers = np.full(len(self), -1)
        for _ in range(_TRIES):
            other = self._by_signer[self._first + rng.integers(self._count)]
            fits = self.clips.lengths + self.clips.lengths[other] <= self.max_latents
            fits &= self.num_tokens + self.num_tokens[other] <= self.max_tokens
            taken = undecided & fits & self.clips.has_text[other] & (other != np.arange(len(self)))
            followers[taken], undecided = other[taken], undecided & ~taken
        return followers

    def lengths_in(self, epoch: int) -> np.ndarray:
        followers = self.followers(epoch)
        return self.clips.lengths + np.where(followers < 0, 0, self.clips.lengths[followers])

    def __getitem__(self, key: tuple[int, int]) -> Item:
        index, epoch = key
        follower = int(self.followers(epoch)[index])
        first = self.clips[key]
        return first if follower < 0 else self._joined(first, self.clips[(follower, epoch)])

    def _joined(self, first: Item, second: Item) -> Item:
        z = np.array(second["z"])
        z[:, self.place :] = first["z"][:1, self.place :]
        whole = len(first["z"]) * self.stride  # frames: the second clip begins with a latent of its own
        rest = np.full((whole - len(first["energy"]), 2), np.nan, np.float32)
        item = first | {
            "text": f"{first['text']} {second['text']}",
            "z": np.concatenate([first["z"], z]),
            "energy": np.concatenate([first["energy"], rest, second["energy"]]),
            "frames": whole + second["frames"],
        }
        return item | ({"cond": np.concatenate([first["cond"], second["cond"]])} if "cond" in first else {})


def join_clips(
    clips: LatentDataset, share: float, source: LatentSource, encoder: TextEncoder, seed: int
) -> JoinedClips:
    """The clips, of which a share is followed by a second one; prints how many are followed in the first epoch.

    Raises UserError if no clip can be followed.
    """
    joined = JoinedClips(
        clips,
        share,
        seed,
        num_tokens=encoder.count_tokens([clips.names(number)["text"] for number in range(len(clips))]),
        max_tokens=encoder.max_tokens,
        max_latents=source.autoencoder.num_latents(source.max_seq_len),
        stride=source.autoencoder.config.temporal_stride,
        place=source.autoencoder.config.decoded_dim,
    )
    condition = " of the same signer" if clips.signers else ""
    if not joined.can_join():
        raise UserError(
            f"--joined_clips {share:g}: no train clip can be followed by another{condition}, as both together may have "
            f"--max_seq_len {source.max_seq_len} frames and {encoder.max_tokens} tokens; raise the first, or leave "
            "the flag out"
        )
    followed = int((joined.followers(epoch=1) >= 0).sum())
    say(
        f"joined clips: in each epoch about {followed} of {len(clips)} train clips are followed by another{condition}, "
        f"up to {source.max_seq_len} frames in all"
    )
    return joined
