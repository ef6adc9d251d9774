"""Text -> pose for every model: read the texts, sample latents, decode them. Inference and evaluation call this."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from checkpoints import (
    FLOW,
    PREDICTOR,
    STUDENT,
    load_autoencoder,
    load_text_to_latent,
    require_equal,
    require_same_latents,
)
from models.autoencoder import PoseAutoencoder, PoseSpace
from models.latent_flow_matcher import FlowConfig
from models.layers import lengths_to_mask
from models.sampling_settings import SamplingSettings, SettingRefused
from models.speed import Speed, speed_up, why_not_compilable
from models.text_to_latent import TextToLatent
from poses.files import absurd_numbers
from poses.interpolation import resample, resample_seen
from poses.presence import decoded_presence, without_absent
from poses.statistics import Statistics, statistics_path
from poses.texts import legible, says_something
from runtime.errors import UserError
from runtime.files import is_undecoded
from runtime.precision import BF16, FP32, INT8, settle_precision
from runtime.processes import broadcast_from_first, shared_map
from runtime.timing import Clock

TIMED_PARTS = ("text", "sampling", "decoding")
TEXTS_AT_A_TIME = 512  # texts that are read before the first is signed; their embeddings are in memory


def text_to_sign(text: str) -> str:
    """The text in the form of training texts; raises UserError if it says nothing, by the rule of training."""
    text = legible(text)
    if is_undecoded(text):
        raise UserError("the text is not UTF-8; set the terminal to it, or write the text into a file for --text_file")
    if not text:
        raise UserError("an empty text has no signs; write something")
    if not says_something(text):
        raise UserError(f"the text '{text[:40]}' has no signs; write a word")
    return text


@dataclass
class Generated:
    """One clip: pose [T,214] float32 in data units, zeros where a hand or the face is absent; its part of the batch's
    seconds for each of TIMED_PARTS; and who signs it, where the model knows its signers."""

    pose: np.ndarray
    seconds: dict[str, float]
    signer: str | None = None


@dataclass(frozen=True)
class _Text:
    """A text that was read: its embedding [L,C], the length that it asks for, its signer if the model knows any, and
    the seconds that reading took."""

    cond: Tensor
    frames: int
    signer: str | None
    seconds: float


class Generator:
    """The frozen models of one direction, ready to sign. Raises SettingRefused for settings that they cannot follow."""

    def __init__(
        self,
        autoencoder: PoseAutoencoder | PoseSpace,
        statistics: Statistics,
        model: TextToLatent,
        sampling: SamplingSettings | None = None,
        speed: Speed | None = None,
        fingerprints: dict[str, str] | None = None,
        train_clips: Sequence[str] = (),
    ) -> None:
        self.autoencoder, self.statistics, self.model = autoencoder, statistics, model
        self.speed, self.fingerprints, self.train_clips = speed or Speed(), fingerprints or {}, train_clips
        self.device = model.latent_mean.device
        self.space = PoseSpace() if model.net.config.space == "pose" else autoencoder  # between latents and poses
        if self.speed.precision != FP32 or self.speed.compiled:
            self.space = copy.deepcopy(self.space)  # the evaluation's autoencoder stays as it is
        speed_up(model.net, self.space.decoder, model.text_encoder.module, self.speed)
        self._set_sampling(sampling or SamplingSettings())

    def _set_sampling(self, sampling: SamplingSettings) -> None:
        self.sampling = self.model.net.resolve(sampling)
        with torch.no_grad(), self._autocast():
            self.table = self.model.net.time_table(self.sampling)

    def with_sampling(self, sampling: SamplingSettings) -> "Generator":
        """A generator that shares these models, with other settings; SettingRefused if they cannot follow them."""
        other = copy.copy(self)
        other._set_sampling(sampling)
        return other

    @property
    def settings(self) -> dict[str, object]:
        """What decides the samples besides text, length and seed, for reports."""
        computed = {"precision": self.speed.precision, "compiled": self.speed.compiled}
        return {"model": self.model.net.kind, **computed, **self.model.net.describe(self.sampling)}

    def record(self, clip: Generated, text: str, seed: int, checkpoints: Mapping[str, Path]) -> dict[str, object]:
        """What a clip is and what made it, for the .json beside it; `checkpoints`: paths by name."""
        record = {"text": text, "frames": len(clip.pose), "fps": self.statistics.info.get("fps")}
        record |= {"seed": seed, "seconds": clip.seconds, **self.settings}
        record |= {"signer": clip.signer} if clip.signer is not None else {}
        record["checkpoints"] = {name: str(path) for name, path in checkpoints.items()}
        return record | {"fingerprints": self.fingerprints}

    def require_data(self, data_dir: Path, cache_dir: Path | None, autoencoder_checkpoint: Path) -> None:
        """Raises UserError if the data set's statistics are not those that the models were trained with."""
        given = Statistics.load(statistics_path(data_dir, cache_dir)).fingerprint
        kept = self.statistics.fingerprint
        require_equal(f"--data_dir {data_dir} with statistics", given, kept, autoencoder_checkpoint)

    def generate(
        self,
        texts: Sequence[str],
        seeds: Sequence[int],
        lengths: Sequence[int] | None = None,
        batch_size: int = 32,
        signers: Sequence[str | None] | None = None,
    ) -> list[Generated]:
        """Sign `texts`, one clip each, in their order. `lengths` in frames; without it the length predictor decides.

        signers: who signs each, where the model knows several; None: one drawn by the clip's seed.
        A clip depends on its text, its length, its signer and its seed, never on the batch it was made in.
        """
        clips = dict(self.stream(texts, seeds, lengths, batch_size, signers))
        return [clips[index] for index in range(len(texts))]

    def stream(
        self,
        texts: Sequence[str],
        seeds: Sequence[int],
        lengths: Sequence[int] | None = None,
        batch_size: int = 32,
        signers: Sequence[str | None] | None = None,
    ) -> Iterator[tuple[int, Generated]]:
        """As `generate`, but yields (index, clip) batch by batch, clips of like length together.

        Reads TEXTS_AT_A_TIME texts, then signs them in order of their clips' lengths, which are known only then.
        Several processes share the batches, and each gets all clips. Raises UserError for an implausible clip
        (`require_plausible`).
        """
        kind = self.model.net.kind
        guidance = self.sampling if kind == FLOW else None  # which a student can't change
        if self.speed.precision == INT8:
            batch_size = 1  # for reading, too: int8 magnifies the rounding in which batches differ
        indices = range(len(texts))
        asked = signers or [None] * len(seeds)
        named = [name or self.model.draw_signer(seed) for name, seed in zip(asked, seeds, strict=True)]
        if lengths is not None:
            indices = sorted(indices, key=lambda i: (lengths[i], i))
        for first in range(0, len(indices), TEXTS_AT_A_TIME):
            window = indices[first : first + TEXTS_AT_A_TIME]
            read = self.read([texts[i] for i in window], [named[i] for i in window], batch_size)
            # All processes must order alike, and their rounding may differ.
            predicted = broadcast_from_first([text.frames for text in read])
            frames = [lengths[i] for i in window] if lengths is not None else predicted
            order = sorted(range(len(window)), key=lambda row: (frames[row], row))
            batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
            tasks = (
                ([read[row] for row in rows], [frames[row] for row in rows], [seeds[window[row]] for row in rows])
                for rows in batches
            )
            signed = shared_map(lambda task: self.sign(*task), tasks, 0, at_a_time=1)
            for rows, clips in zip(batches, signed, strict=True):
                made = [window[row] for row in rows]
                for index, clip in zip(made, clips, strict=True):
                    require_plausible(clip.pose, f"the {kind}'s clip of '{texts[index][:40]}'", guidance)
                yield from zip(made, clips, strict=True)

    @torch.no_grad()
    def read(self, texts: list[str], signers: list[str | None], batch_size: int) -> list[_Text]:
        """The texts' embeddings and lengths, as their signers sign them, in batches of like length, without padding.

        Raises UserError for a text that is too long for the encoder.
        """
        read: dict[int, _Text] = {}
        if cut := self.model.truncation_message(texts):
            raise UserError(f"{cut}; sign it in parts, one sentence each")
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        clock = Clock(self.device)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            with self._autocast():
                cond, cond_mask = self.model.embed_text([texts[i] for i in chosen])  # [B,L,C], [B,L]
                cond = self.model.by_signer(cond, [signers[i] for i in chosen])
                frames = self.model.predict_frames(cond, cond_mask).tolist()
            seconds = clock.lap() / len(chosen)
            for i, row, real, length in zip(chosen, cond, cond_mask, frames, strict=True):
                read[i] = _Text(row[real], length, signers[i], seconds)
        return [read[i] for i in range(len(texts))]

    @torch.no_grad()
    def sign(self, texts: list[_Text], lengths: list[int], seeds: list[int]) -> list[Generated]:
        """The clips of one batch: texts as `read` gives them, `lengths` in frames."""
        longest = self.model.net.config.max_frames or max(lengths)
        frames = torch.tensor([min(length, longest) for length in lengths], device=self.device)
        clock = Clock(self.device)
        with self._autocast():
            cond = pad_sequence([text.cond for text in texts], batch_first=True)  # [B,L,C]
            cond_mask = lengths_to_mask(torch.tensor([len(text.cond) for text in texts], device=self.device))
            mask = lengths_to_mask(self.space.num_latents(frames))  # [B,N]
            z = self.model.net.sample(cond, cond_mask, mask, seeds, self.sampling, self.table)  # [B,N,D]
            sampling = clock.lap() / len(texts)
            decoded = self.space.decode(self.model.denormalize(z), lengths_to_mask(frames))
            pose, presence = (part.float().cpu().numpy() for part in decoded)  # [B,T,214], [B,T,3]
        poses = []
        for row, probability, real, length in zip(pose, presence, frames.tolist(), lengths, strict=True):
            poses.append(finished(row[:real], probability[:real], self.statistics, length))
        decoding = clock.lap() / len(texts)
        seconds = [dict(zip(TIMED_PARTS, (text.seconds, sampling, decoding), strict=True)) for text in texts]
        return list(map(Generated, poses, seconds, [text.signer for text in texts]))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.speed.precision == BF16)


def finished(pose: np.ndarray, presence: np.ndarray, statistics: Statistics, length: int) -> np.ndarray:
    """A decoder's clip, pose [T,214] and presence [T,3], as a file holds it: [length,214] in data units.

    Zeros stand where a hand or the face is absent, and for what no train clip shows. T is less than `length` where
    training squeezed clips that long.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by `require_plausible`
        clip, present = statistics.denormalize(pose), decoded_presence(presence)
        clip[:, ~statistics.shown] = 0.0
        if len(clip) != length:
            clip, present = resample(clip, length), resample_seen(present, length)
    return without_absent(clip, present)


def require_plausible(pose: np.ndarray, made: str, guidance: SamplingSettings | None = None) -> None:
    """Raises UserError if a model made a clip [T,214] of NaN, infinity, or numbers that no data set may hold.

    made: what the message calls the clip; guidance: the settings that it was made with, where the user may change them.
    """
    if absurd_numbers(pose).any():
        advice = ""
        if guidance is not None:
            scale, gamma = guidance.guidance_scale, guidance.gamma_guidance
            share = f" and gamma_guidance ({gamma:g})" if gamma > FlowConfig.gamma_guidance else ""
            advice = f"lower the guidance scale ({scale:g}){share}, or if that does not help, "
        raise UserError(
            f"{made} has NaN, infinity or coordinates far outside the picture; {advice}its training diverged: train it "
            "again with a lower --learning_rate"
        )


def load_generator(
    checkpoint: Path,
    autoencoder_checkpoint: Path,
    device: torch.device,
    sampling: SamplingSettings | None = None,
    speed: Speed | None = None,
    *,
    text_encoder: str | None = None,
    kinds: tuple[str, ...] = (PREDICTOR, FLOW, STUDENT),
) -> Generator:
    """Load both checkpoints, which must belong together; raises UserError if they cannot sign as asked.

    With `speed` as the flags give it, precision and threads are settled for this machine, and a line says how; without
    it, networks compute in fp32 on the threads that PyTorch has.
    """
    as_asked, speed = speed is not None, speed or Speed()
    if speed.precision == INT8 and (device.type != "cpu" or speed.compiled):
        raise UserError("--precision int8 is for a CPU, without --compile; use bf16 elsewhere")
    if speed.compiled and (reason := why_not_compilable(device)):
        raise UserError(f"--compile: PyTorch cannot compile here ({reason}); leave the flag out")
    autoencoder, statistics, parent = load_autoencoder(autoencoder_checkpoint, device)
    model, content = load_text_to_latent(checkpoint, kinds, parent["fingerprint"], device, text_encoder)
    space = PoseSpace if model.net.config.space == "pose" else autoencoder
    require_same_latents(model.net.config, space.config, checkpoint)
    fingerprints = {"autoencoder": parent["fingerprint"], content["kind"]: content["fingerprint"]}
    if as_asked:
        speed = replace(
            speed, precision=settle_precision(speed.precision, device.type, widest_layer(model, autoencoder))
        )
    speed = replace(speed, packed=device.type == "cpu" and not speed.compiled)
    try:
        return Generator(autoencoder, statistics, model, sampling, speed, fingerprints, content.get("train_clips", ()))
    except SettingRefused as error:
        raise UserError(f"--{error} ({checkpoint}); leave the flag out or use another checkpoint") from None


def widest_layer(model: TextToLatent, autoencoder: PoseAutoencoder) -> int:
    """The width of the widest network that signs."""
    return max(model.net.config.hidden_dim, model.net.config.cond_dim, autoencoder.config.hidden_dim)
