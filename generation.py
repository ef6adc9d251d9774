"""Text -> pose for every model: load the checkpoints once, then `generate`. Inference and evaluation call this."""

import argparse
import copy
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch._inductor.config as inductor
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from checkpoints import FLOW, PREDICTOR, STUDENT, load_autoencoder, load_text_to_latent, require_equal
from models.autoencoder import PoseAutoencoder, PoseSpace
from models.flow_matching import DEFAULT_SOLVER, sample_noise, sample_ode, time_grid
from models.latent_flow_matcher import LatentFlowMatcher, TimeMemory
from models.latent_predictor import LatentPredictor
from models.layers import CrossAttention, FeedForward, SelfAttention, lengths_to_mask
from models.speed import pack_linears
from models.text_to_latent import TextToLatent
from poses.statistics import STATISTICS_FILE, Statistics
from runtime.errors import UserError
from runtime.files import read_texts, write_whole

PARTS = ("text", "sampling", "decoding")
WINDOW = 512  # texts that are read before the first is signed; their embeddings lie in memory


@dataclass(frozen=True)
class SamplingSettings:
    """How latents are sampled; None is what the checkpoint says."""

    num_steps: int | None = None
    guidance_scale: float | None = None
    solver: str | None = None
    use_ssm_prior: bool | None = None
    use_sync_guidance: bool | None = None


def sampling_settings(args: argparse.Namespace) -> SamplingSettings:
    """The settings that the flags of `add_sampling_arguments` ask for."""
    return SamplingSettings(
        args.num_steps, args.guidance_scale, args.solver, args.use_ssm_prior, args.use_sync_guidance
    )


@dataclass
class Generated:
    """One clip: pose [T,214] float32 in data units, and its share of the batch's seconds for each of PARTS."""

    pose: np.ndarray
    seconds: dict[str, float]


class Generator:
    """The frozen models of one direction, ready to sign texts."""

    def __init__(
        self, autoencoder: PoseAutoencoder, statistics: Statistics, model: TextToLatent, sampling: SamplingSettings,
        *, kind: str, fingerprints: dict[str, str],
    ) -> None:  # fmt: skip
        self.autoencoder, self.statistics, self.model = autoencoder, statistics, model
        self.kind, self.fingerprints = kind, fingerprints
        in_pose_space = getattr(model.net.config, "space", "latent") == "pose"
        self.space = PoseSpace() if in_pose_space else autoencoder  # between latents and poses
        self.num_steps = sampling.num_steps or 1
        self.solver = "euler" if kind == STUDENT else sampling.solver or DEFAULT_SOLVER
        self.guidance_scale = 1.0 if sampling.guidance_scale is None else sampling.guidance_scale
        if kind in (FLOW, STUDENT) and sampling.num_steps is None:
            self.num_steps = model.net.config.num_inference_steps
        if kind in (FLOW, STUDENT) and sampling.guidance_scale is None:
            self.guidance_scale = model.net.config.guidance_scale
        self.device = model.latent_mean.device
        self.precision, self.compiled = "fp32", False
        self._times: TimeMemory | None = None

    @property
    def settings(self) -> dict[str, object]:
        """What decides the samples besides text, length and seed, for reports."""
        if self.kind == PREDICTOR:
            return {"model": self.kind, "num_steps": 1, "precision": self.precision, "compiled": self.compiled}
        return {
            "model": self.kind, "precision": self.precision, "compiled": self.compiled, "num_steps": self.num_steps,
            "guidance_scale": self.guidance_scale, "solver": self.solver, "space": self.model.net.config.space,
            "prior": self.model.net.config.prior_type,
            "sync_guidance": (self.kind == STUDENT and self.model.net.config.use_sync_guidance)
            or self.model.net.sync_head is not None,
        }  # fmt: skip

    def generate(
        self, texts: Sequence[str], seeds: Sequence[int], lengths: Sequence[int] | None = None, batch_size: int = 32
    ) -> list[Generated]:
        """Sign `texts`, one clip each, in their order. `lengths` in frames; without it the length predictor decides.

        A clip depends on its text, its length and its seed, never on the batch it was made in.
        """
        results: list[Generated | None] = [None] * len(texts)
        for index, clip in self.stream(texts, seeds, lengths, batch_size):
            results[index] = clip
        return results

    def stream(
        self, texts: Sequence[str], seeds: Sequence[int], lengths: Sequence[int] | None = None, batch_size: int = 32
    ) -> Iterator[tuple[int, Generated]]:
        """As `generate`, but yields (index, clip) batch by batch, clips of like length together.

        Without `lengths` the texts of WINDOW clips are read first: the length of a text says little of its clip's.
        """
        indices, signed_together = range(len(texts)), 1 if self.precision == "int8" else batch_size
        if lengths is not None:
            indices = sorted(indices, key=lambda i: (lengths[i], i))
        for first in range(0, len(indices), WINDOW):
            window = indices[first : first + WINDOW]
            read = self._read([texts[i] for i in window], batch_size)
            frames = [lengths[i] for i in window] if lengths is not None else [text.frames for text in read]
            order = sorted(range(len(window)), key=lambda row: (frames[row], row))
            for start in range(0, len(order), signed_together):
                rows = order[start : start + signed_together]
                chosen = [window[row] for row in rows]
                clips = self._sign(
                    [read[row] for row in rows], [frames[row] for row in rows], [seeds[i] for i in chosen]
                )
                yield from zip(chosen, clips, strict=True)

    @torch.no_grad()
    def _read(self, texts: list[str], batch_size: int) -> list["_Text"]:
        """The texts, in batches of like length, each without its padding."""
        read: dict[int, _Text] = {}
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        clock = _Clock(self.device)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            with self._precision():
                cond, cond_mask = self.model.embed_text([texts[i] for i in chosen])
                frames = self.model.predict_frames(cond, cond_mask).tolist()
            seconds = clock.lap() / len(chosen)
            for i, row, real, length in zip(chosen, cond, cond_mask, frames, strict=True):
                read[i] = _Text(row[real], length, seconds)
        return [read[i] for i in range(len(texts))]

    @torch.no_grad()
    def _sign(self, texts: list["_Text"], lengths: list[int], seeds: list[int]) -> list[Generated]:
        """The clips of one batch."""
        frames = torch.tensor(lengths, device=self.device)
        clock = _Clock(self.device)
        with self._precision():
            cond = pad_sequence([text.cond for text in texts], batch_first=True)
            cond_mask = lengths_to_mask(torch.tensor([len(text.cond) for text in texts], device=self.device))
            z = self._sample(cond, cond_mask, frames, seeds)
            sampling = clock.lap() / len(texts)
            pose = self.space.decode(self.model.denormalize(z), lengths_to_mask(frames)).float().cpu().numpy()
        poses = [self.statistics.denormalize(row[:length]) for row, length in zip(pose, lengths, strict=True)]
        decoding = clock.lap() / len(texts)
        return [
            Generated(clip, dict(zip(PARTS, (text.seconds, sampling, decoding), strict=True)))
            for clip, text in zip(poses, texts, strict=True)
        ]

    def use_bf16(self) -> None:
        """From now on multiply matrices in bf16; what lies between the products, and the trajectory, stays fp32."""
        self.precision = "bf16"
        self.space = copy.deepcopy(self.space)  # the evaluation's autoencoder stays as it is
        for part in (self.model.net, self.space, self.model.text_encoder.module):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)  # once, instead of at every product

    def use_int8(self) -> None:
        """From now on multiply attention and feed-forward in int8, and sign clip by clip. On a CPU alone.

        Weights are rounded once, what they are multiplied with at every product, on a scale that a batch would share: a
        clip would depend on its batch, so that there is none.
        """
        self.precision = "int8"
        self.space = copy.deepcopy(self.space)  # the evaluation's autoencoder stays as it is
        products = SelfAttention | CrossAttention | FeedForward
        with warnings.catch_warnings():  # PyTorch's own quantisation will move to torchao; its version is pinned
            warnings.simplefilter("ignore")
            for part in (self.model.net, self.space):
                for module in [module for module in part.modules() if isinstance(module, products)]:
                    quantize_dynamic(module, {nn.Linear}, inplace=True)

    def compile(self) -> None:
        """From now on run sampling and decoding as compiled code, in the precision that is set now.

        The first single clip and the first batch wait for the compiler; further ones of any length and size do not. On
        a CPU the weights are laid out for its products, once (freezing). Prior, sync head and text encoder stay as they
        are: a complex FFT and a gradient are not for this compiler, and the text is read once.
        """
        self.compiled = True
        if self.device.type == "cpu":
            inductor.freezing = True  # as an option of torch.compile it is read too late, and without a word
        net = self.model.net
        if isinstance(net, LatentPredictor):
            net.compile(dynamic=True)
        else:
            net.velocity_net.blocks = torch.compile(net.velocity_net.blocks, dynamic=True)
        if isinstance(self.space, PoseAutoencoder):
            self.space = copy.deepcopy(self.space)  # the evaluation's autoencoder stays as it is
            self.space.decoder.compile(dynamic=True)

    def pack(self) -> None:
        """From now on keep the weights in the layout that products on a CPU read, in the precision that is set now."""
        parts = [self.model.text_encoder.module]
        net = self.model.net
        parts += [net] if isinstance(net, LatentPredictor) else [net.velocity_net, *filter(None, [net.prior])]
        if isinstance(self.space, PoseAutoencoder):
            parts.append(self.space.decoder)
        for part in parts:
            pack_linears(part)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _sample(self, cond: Tensor, cond_mask: Tensor, frames: Tensor, seeds: list[int]) -> Tensor:
        """Normalised latents [B,N,D]."""
        latents = self.space.num_latents(frames)
        mask = lengths_to_mask(latents)
        net = self.model.net
        if isinstance(net, LatentPredictor):
            return net(cond, cond_mask, mask)
        z_0 = sample_noise(seeds, latents.tolist(), net.config.latent_dim).to(self.device)
        grid = time_grid(self.num_steps, self.device)
        if self._times is None:
            self._times = net.remember_times(grid, 1.0 / self.num_steps if self.kind == STUDENT else None)
        if self.kind == STUDENT:
            velocity = net.step_field(cond, cond_mask, mask, self.num_steps, self._times)
        else:
            velocity = net.guided_field(cond, cond_mask, mask, self.guidance_scale, self._times)
        return sample_ode(velocity, z_0, grid, self.solver)


@dataclass(frozen=True)
class _Text:
    """A text that was read: its embedding [L,C], the length that it asks for, and the seconds that took."""

    cond: Tensor
    frames: int
    seconds: float


class _Clock:
    """Seconds between laps, the device's queue included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.last = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def lap(self) -> float:
        now = self._now()
        elapsed, self.last = now - self.last, now
        return elapsed


def load_generator(
    checkpoint: Path, autoencoder_checkpoint: Path, device: torch.device, sampling: SamplingSettings | None = None,
    *, kinds: tuple[str, ...] = (PREDICTOR, FLOW, STUDENT), precision: str = "fp32", compiled: bool = False,
) -> Generator:  # fmt: skip
    """Load both checkpoints, which must belong together, and check the sampling settings against them."""
    autoencoder, statistics, parent = load_autoencoder(autoencoder_checkpoint, device)
    model, content = load_text_to_latent(checkpoint, kinds, parent, device)
    kind, sampling = content["kind"], sampling or SamplingSettings()
    if kind != PREDICTOR:
        _check_sampling(model.net, kind, sampling, checkpoint)
    generator = Generator(
        autoencoder, statistics, model, sampling, kind=kind,
        fingerprints={"autoencoder": parent["fingerprint"], kind: content["fingerprint"]},
    )  # fmt: skip
    if precision == "bf16":
        generator.use_bf16()
    if precision == "int8":
        if device.type != "cpu" or compiled:
            raise UserError("--precision int8 is for a CPU, without --compile; take bf16 elsewhere")
        generator.use_int8()
    if compiled:
        _require_compiler(device)
        generator.compile()
    elif device.type == "cpu":
        generator.pack()
    return generator


def _require_compiler(device: torch.device) -> None:
    """Refuse where the smallest function does not compile, before a long run meets that."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except RuntimeError as error:  # no compiler, no Python headers, no Triton: each has an error of its own
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
        raise UserError(f"--compile: PyTorch cannot compile here ({reason}); leave the flag out") from None


def _check_sampling(net: LatentFlowMatcher, kind: str, sampling: SamplingSettings, checkpoint: Path) -> None:
    """Refuse settings that the checkpoint cannot sample with; sync guidance of a teacher may be switched off."""
    config = net.config
    require_equal("--use_ssm_prior", sampling.use_ssm_prior, config.prior_type != "none", checkpoint)
    if kind == STUDENT:
        if sampling.num_steps is not None and sampling.num_steps not in config.student_steps:
            known = ", ".join(map(str, config.student_steps))
            raise UserError(
                f"--num_steps {sampling.num_steps}: {checkpoint} is a student of {known} steps; use one of them"
            )
        require_equal("--guidance_scale", sampling.guidance_scale, config.guidance_scale, checkpoint)
        require_equal("--use_sync_guidance", sampling.use_sync_guidance, config.use_sync_guidance, checkpoint)
        if sampling.solver not in (None, "euler"):
            raise UserError(
                f"--solver {sampling.solver}: {checkpoint} is a student, which knows its own steps; use euler"
            )
    elif sampling.use_sync_guidance and not config.use_sync_guidance:
        raise UserError(
            f"--use_sync_guidance: {checkpoint} was trained without it; leave the flag out or train with it"
        )
    elif sampling.use_sync_guidance is False:
        net.sync_head = None


def sign_to_files(generator: Generator, args: argparse.Namespace, checkpoints: dict[str, Path]) -> list[Path]:
    """What the inference scripts do with their flags: sign the texts, write every clip and its .json as it is made."""
    if args.data_dir is not None:
        given = Statistics.load(args.data_dir / STATISTICS_FILE).fingerprint
        require_equal(
            f"--data_dir {args.data_dir} with statistics", given, generator.statistics.fingerprint, args.output_path
        )
    texts = read_texts(args.text_file) if args.text_file else [args.text.strip()]
    if not all(texts):
        raise UserError("--text: an empty text has no signs; write something")
    jobs = [(text, args.seed + k) for text in texts for k in range(args.num_samples)]
    lengths = [args.target_length] * len(jobs) if args.target_length else None
    paths = [args.output_path]
    if args.text_file or args.num_samples > 1:
        stem = args.output_path.with_suffix("")
        paths = [stem.with_name(f"{stem.name}_{number:04d}.npy") for number in range(1, len(jobs) + 1)]
    bar = tqdm(total=len(jobs), unit="clip", disable=None if len(jobs) > 1 else True)
    for index, clip in generator.stream(*map(list, zip(*jobs, strict=True)), lengths, args.batch_size):
        text, seed = jobs[index]
        with write_whole(paths[index]) as file:
            np.save(file, clip.pose)
        record = {
            "text": text, "frames": len(clip.pose), "seed": seed, "seconds": clip.seconds, **generator.settings,
            "checkpoints": {name: str(path) for name, path in checkpoints.items()},
            "fingerprints": generator.fingerprints,
        }  # fmt: skip
        with write_whole(paths[index].with_suffix(".json"), "w") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
        bar.update()
    bar.close()
    return paths


