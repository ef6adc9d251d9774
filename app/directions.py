"""The models of the page, and how one of them signs a typed text."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from checkpoints import FLOW, PREDICTOR, STUDENT
from generation import Generated, Generator, load_generator, text_to_sign, widest_layer
from generation_arguments import num_steps
from models.sampling_settings import SamplingSettings, SettingRefused
from models.speed import Speed
from runtime.arguments import T, frames, natural_float, natural_int
from runtime.errors import UserError
from runtime.precision import use_threads


@dataclass(frozen=True)
class Direction:
    """One direction's models, ready to sign; `checkpoints`: paths by name, for the .json beside a clip."""

    name: str
    generator: Generator
    checkpoints: dict[str, Path]


def load_directions(args: argparse.Namespace, device: torch.device) -> list[Direction]:
    """Every model that the flags name, each loaded once and warmed up by one clip."""
    speed = Speed(args.precision, args.compiled)
    asked = [("predictor", args.predictor_checkpoint, (PREDICTOR,))] if args.predictor_checkpoint else []
    asked += [("flow", path, (FLOW, STUDENT)) for path in args.flow_checkpoint]
    if repeated := [path for path in args.flow_checkpoint if args.flow_checkpoint.count(path) > 1]:
        raise UserError(f"--flow_checkpoint {repeated[0]}: given several times; name it once")
    directions: dict[str, Direction] = {}
    for name, path, kinds in asked:
        generator = load_generator(
            path, args.autoencoder_checkpoint, device, speed=speed, text_encoder=args.text_encoder, kinds=kinds
        )
        kind = generator.model.net.kind
        label = f"Direction {1 if kind == PREDICTOR else 2}: {kind}"
        if label in directions:
            label += f" ({path})"
        directions[label] = Direction(label, generator, {name: path, "autoencoder": args.autoencoder_checkpoint})
    generators = [direction.generator for direction in directions.values()]
    width = max(widest_layer(generator.model, generator.autoencoder) for generator in generators)
    use_threads(width, device.type)  # each model has set the threads for itself as it was loaded
    for direction in directions.values():
        if args.data_dir is not None:
            direction.generator.require_data(args.data_dir, args.cache_dir, args.autoencoder_checkpoint)
        direction.generator.generate(["a"], [0], [25])
    return list(directions.values())


def typed(name: str, text: str, parse: Callable[[str], T]) -> T | None:
    """A field's number, None where it is empty; raises UserError if it does not fit, as for the scripts' flags."""
    if not text.strip():
        return None
    try:
        return parse(text.strip())
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{name}: {error}") from None


def sign(
    direction: Direction,
    text: str,
    steps: str = "",
    guidance: str = "",
    length: str = "",
    seed: str = "",
    signer: str = "",
) -> tuple[Generated, dict[str, object]]:
    """The clip that the inference scripts would make, and its record. The models decide empty fields."""
    text = text_to_sign(text)
    settings = SamplingSettings(typed("steps", steps, num_steps), typed("guidance", guidance, natural_float))
    lengths, seed = typed("length", length, frames), typed("seed", seed, natural_int) or 0
    if direction.generator.model.net.kind == PREDICTOR and settings != SamplingSettings():
        raise UserError("Direction 1 has neither steps nor guidance; leave both fields empty")
    try:
        generator = direction.generator.with_sampling(settings)
    except SettingRefused as error:
        raise UserError(f"{error}; leave the field empty") from None
    (clip,) = generator.generate([text], [seed], [lengths] if lengths else None, signers=[signer or None])
    return clip, generator.record(clip, text, seed, direction.checkpoints)
