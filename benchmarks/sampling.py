"""How fast clips are made at the default sizes, random weights: Direction 1, the flow, its student; one clip and many.

    python benchmarks/sampling.py [--rounds 5] [--write]
    python benchmarks/sampling.py --no_compiled      # without the compiler, which takes most of the time

Prints JSON; --write also puts the tables into benchmarks/README.md. The sides of a ratio are timed in turn, and each
counts its least seconds.

    rate         sampling and decoding at batch 16, 120 frames: achieved GFLOP/s over those of an fp32 product of 2048
    latency      one clip of 50 frames, student in 4 steps over Direction 1, and 50 steps over 4
    batches      clips per second of 256 texts of 20 to 120 frames through `Generator.stream`, over one at a time, and
                 what that ratio would be if batches ran at the rate of an fp32 product
    compiled     --compile: seconds of its warm-up, then of one clip and of batch 16, plain over compiled
    precision    the same, over the same fp32 product, with matrix products in bf16 where the processor has them
    one_clip     one clip of 50 frames in fp32: with weights as PyTorch keeps them, and in int8, over packed weights
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import torch
from common import (
    machine,
    make_autoencoder,
    make_generator,
    make_parser,
    make_text_encoder,
    paragraph,
    print_json,
    table,
    time_in_turn,
    write_section,
)
from torch.utils.flop_counter import FlopCounterMode

from checkpoints import FLOW, PREDICTOR, STUDENT
from generation import TIMED_PARTS, Generator
from models.text_encoder import PretrainedTextEncoder
from runtime.cpu import keep_freed_memory, prefer_onednn
from text_encoders import open_text_encoder

TEXT = "h e l l o w o r l d"
PRODUCT = 2048


def packed_flops(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    """Of `models.speed.PackedLinear`."""
    return 2 * x.numel() * weight[0]


def count_flops(work: Callable[[], object]) -> int:
    counted = {torch.ops.mkldnn._linear_pointwise: packed_flops}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        work()
    return counter.get_total_flops()


def sampler_and_decoder(generator: Generator, batch: int, frames: int) -> Callable[[], object]:
    """Text embedded beforehand; noise, trajectory, decoding."""
    text = generator.read([TEXT] * batch, [None] * batch, batch)
    return lambda: generator.sign(text, [frames] * batch, list(range(batch)))


def without_sync(generator: Generator) -> Generator:
    """The generator without sync guidance, whose gradient is taken in sampling: such operations cannot be counted."""
    if not generator.sampling.use_sync_guidance or generator.model.net.kind != FLOW:
        return generator
    return generator.with_sampling(replace(generator.sampling, use_sync_guidance=False, gamma_guidance=None))


def rate(generators: dict[str, Generator], rounds: int) -> dict[str, object]:
    a, b = torch.randn(PRODUCT, PRODUCT), torch.randn(PRODUCT, PRODUCT)
    sides = {name: sampler_and_decoder(generator, 16, 120) for name, generator in generators.items()}
    flops = {
        name: count_flops(sampler_and_decoder(without_sync(generator), 16, 120))
        for name, generator in generators.items()
    }
    seconds = time_in_turn({**sides, "product": lambda: a @ b}, rounds)
    product = 2 * PRODUCT**3 / seconds["product"]
    return {
        "product_gflops": round(product / 1e9, 1),
        **{
            name: {
                "gflop": round(flops[name] / 1e9, 1),
                "gflops": round(flops[name] / seconds[name] / 1e9, 1),
                "of_product": round(flops[name] / seconds[name] / product, 3),
            }
            for name in sides
        },
    }


def latency(generators: dict[str, Generator], rounds: int) -> dict[str, dict[str, float]]:
    """Least seconds of each part of one clip, all generators in turn."""
    best = {name: dict.fromkeys((*TIMED_PARTS, "total"), float("inf")) for name in generators}
    for turn in range(rounds + 1):
        for name, generator in generators.items():
            seconds = generator.generate([TEXT], [turn], [50])[0].seconds
            for part, value in {**seconds, "total": sum(seconds.values())}.items():
                best[name][part] = min(best[name][part], value if turn else float("inf"))
    return {name: {part: round(value, 4) for part, value in parts.items()} for name, parts in best.items()}


def batches(generator: Generator, count: int, product: float, batch_size: int = 32) -> dict[str, float]:
    """Clips per second of `count` texts in batches over those of every eighth alone, a slice of each in turn.

    `limit`: that ratio if batches ran as quickly as a large product (`product` GFLOP/s), by the operations of the clips
    that were signed alone.
    """
    draw = random.Random(0)
    lengths = [draw.randint(20, 120) for _ in range(count)]
    texts = [" ".join(draw.choices("abcdefghij", k=max(2, length // 10))) for length in lengths]

    def sign(index: int) -> float:
        return sum(generator.generate([texts[index]], [index], [lengths[index]])[0].seconds.values())

    alone = range(0, count, 8)
    started, waiting, single, seconds = generator.stream(texts, range(count), lengths, batch_size), iter(alone), [], 0.0
    for _ in range(0, count, batch_size):  # a batch, then as many single clips as keep pace
        made = [next(started)[1] for _ in range(batch_size)]
        seconds += sum(sum(clip.seconds.values()) for clip in made)
        single += [sign(index) for index in islice(waiting, batch_size // 8)]
    together, one = count / seconds, 1 / statistics.mean(single)
    gflops = sum(count_flops(lambda index=index: sign(index)) for index in alone) / sum(single) / 1e9
    figures = {"clips_per_second": together, "one_at_a_time": one, "ratio": together / one, "limit": product / gflops}
    return {"clips": count, **{name: round(value, 2) for name, value in figures.items()}}


def compiled(encoder: PretrainedTextEncoder, precision: str, rounds: int) -> dict[str, object]:
    """Direction 1 and the student, each plain and compiled: the wait for the compiler, and what it buys."""
    plain = make_generators(encoder, precision)
    quick = make_generators(encoder, precision, packed=False, compiled=True)
    names, report = ("direction_1", "student_4"), {}
    for name in names:
        marks = [time.perf_counter()]
        for clips in (1, 2):
            quick[name].generate([TEXT] * clips, list(range(clips)), [50, 40][:clips])
            marks.append(time.perf_counter())
        report[name] = {"warm_up_s": [round(stop - start, 1) for start, stop in pairwise(marks)]}
    sides = {name: plain[name] for name in names} | {f"{name}_compiled": quick[name] for name in names}
    one = latency(sides, rounds)
    many = {name: sampler_and_decoder(side, 16, 120) for name, side in sides.items()}
    batch = time_in_turn(many, max(1, rounds // 3))
    for name in names:
        seconds = [one[key]["total"] for key in (name, f"{name}_compiled")]
        report[name] |= {
            "clip_ms": [round(1000 * value, 1) for value in seconds],
            "clip_ratio": round(seconds[0] / seconds[1], 2),
            "batch_ratio": round(batch[name] / batch[f"{name}_compiled"], 2),
        }
    ratio = one["student_4_compiled"]["total"] / one["direction_1_compiled"]["total"]
    return {**report, "student_over_direction_1": round(ratio, 2)}


def one_clip(encoder_folder: Path, rounds: int) -> dict[str, object]:
    """Direction 1 and the student, one clip: weights as PyTorch keeps them, packed, as shipped, and int8."""
    names, sides = ("direction_1", "student_4", "student_4_of_4_layers"), {}
    for kind, precision, packed in (("plain", "fp32", False), ("packed", "fp32", True), ("int8", "int8", True)):
        made = make_generators(open_text_encoder(str(encoder_folder)), precision, packed)
        sides |= {f"{name}_{kind}": made[name] for name in names}
    one = latency(sides, rounds)
    milliseconds = {side: round(1000 * parts["total"], 1) for side, parts in one.items()}
    return {
        "milliseconds": milliseconds,
        "over_packed": {
            name: {
                kind: round(milliseconds[f"{name}_{kind}"] / milliseconds[f"{name}_packed"], 2)
                for kind in ("plain", "int8")
            }
            for name in names
        },
        "over_direction_1": {
            kind: [round(milliseconds[f"{name}_{kind}"] / milliseconds[f"direction_1_{kind}"], 2) for name in names[1:]]
            for kind in ("plain", "packed", "int8")
        },
    }


def make_generators(
    encoder: PretrainedTextEncoder, precision: str, packed: bool = True, compiled: bool = False
) -> dict[str, Generator]:
    """As the scripts make them; the encoder is packed too, for whoever takes it next."""
    autoencoder, how = make_autoencoder(), {"precision": precision, "packed": packed, "compiled": compiled}
    return {
        "direction_1": make_generator(PREDICTOR, encoder, autoencoder, **how),
        "student_4": make_generator(STUDENT, encoder, autoencoder, 4, **how),
        "student_4_of_4_layers": make_generator(STUDENT, encoder, autoencoder, 4, num_layers=4, **how),
        "flow_4": make_generator(FLOW, encoder, autoencoder, 4, **how),
        "flow_50": make_generator(FLOW, encoder, autoencoder, 50, **how),
    }


def measure(generators: dict[str, Generator], rounds: int, clips: int) -> dict[str, object]:
    seconds = latency({name: generators[name] for name in ("direction_1", "student_4", "flow_4")}, rounds)
    fifty = latency({name: generators[name] for name in ("student_4", "flow_4", "flow_50")}, max(1, rounds // 3))
    rates = rate({name: generators[name] for name in ("student_4", "flow_4")}, max(1, rounds // 3))
    return {
        "rate": rates,
        "latency": {**seconds, "flow_50": fifty["flow_50"]},
        "student_over_direction_1": round(seconds["student_4"]["total"] / seconds["direction_1"]["total"], 2),
        "fifty_steps_over_student_4": round(fifty["flow_50"]["sampling"] / fifty["student_4"]["sampling"], 2),
        "fifty_steps_over_flow_4": round(fifty["flow_50"]["sampling"] / fifty["flow_4"]["sampling"], 2),
        "batches": batches(generators["student_4"], clips, rates["product_gflops"]),
    }


MODELS = {"direction_1": "Direction 1", "student_4": "student, 4 steps", "student_4_of_4_layers": "student of 4 layers"}


def describe(report: dict) -> list[str]:
    """The section's paragraphs and tables."""
    kinds = {kind: report[kind] for kind in ("fp32", "bf16") if kind in report}
    return [
        paragraph(
            f"`benchmarks/sampling.py --write` measured this section: default sizes, random weights, {machine()}. "
            "A clip's time has three parts: the text encoder reads the text, the sampler makes latents, the decoder "
            "makes poses. *Over Direction 1*: a time divided by that of Direction 1 in the same setting."
        ),
        *describe_precisions(kinds),
        *describe_compiled(kinds),
        *describe_one_clip(report["one_clip"]),
    ]


def describe_precisions(kinds: dict[str, dict]) -> list[str]:
    """Parts of a clip's time, many steps, batches and rates; kinds: the figures of `measure` by precision."""
    num_clips = kinds["fp32"]["batches"]["clips"]
    return [
        "One clip of 50 frames, by part:",
        table(
            ["precision", "model", "text, ms", "sampling, ms", "decoding, ms", "over Direction 1"],
            [
                [kind, MODELS[name], *(f"{1000 * figures['latency'][name][part]:.0f}" for part in TIMED_PARTS), ratio]
                for kind, figures in kinds.items()
                for name, ratio in (("direction_1", 1), ("student_4", figures["student_over_direction_1"]))
            ],
            names=2,
        ),
        "The time of sampling in 50 steps, over the time in 4 steps:",
        table(
            ["precision", "flow, 50 steps / student, 4 steps", "flow, 50 steps / flow, 4 steps"],
            [
                [kind, figures["fifty_steps_over_student_4"], figures["fifty_steps_over_flow_4"]]
                for kind, figures in kinds.items()
            ],
        ),
        paragraph(
            f"{num_clips} texts of 20 to 120 frames. The last column is the ratio that batches would reach if they "
            "ran at the rate of an fp32 product:"
        ),
        table(
            ["precision", "batches of 32, clips/s", "one at a time, clips/s", "ratio", "ratio at the product's rate"],
            [
                [
                    kind,
                    *(figures["batches"][key] for key in ("clips_per_second", "one_at_a_time", "ratio")),
                    figures["batches"]["limit"] if kind == "fp32" else None,
                ]
                for kind, figures in kinds.items()
            ],
        ),
        "The rate of sampling and decoding 16 clips of 120 frames, in percent of the rate of an fp32 product:",
        table(
            ["precision", "fp32 product, GFLOP/s", "student, 4 steps, %", "flow, 4 steps, %"],
            [
                [
                    kind,
                    figures["rate"]["product_gflops"],
                    *(f"{100 * figures['rate'][name]['of_product']:.0f}" for name in ("student_4", "flow_4")),
                ]
                for kind, figures in kinds.items()
            ],
        ),
    ]


def describe_compiled(kinds: dict[str, dict]) -> list[str]:
    sides = [
        (kind, name, figures["compiled"][name], ratio)
        for kind, figures in kinds.items()
        for name, ratio in (("direction_1", 1), ("student_4", figures["compiled"]["student_over_direction_1"]))
    ]
    return [
        paragraph(
            "`--compile`: one clip of 50 frames, plain and compiled. *Batch*: plain / compiled for 16 clips of 120 "
            "frames:"
        ),
        table(
            [
                "precision",
                "model",
                "plain, ms",
                "compiled, ms",
                "plain / compiled",
                "batch",
                "compiled: over Direction 1",
            ],
            [
                [kind, MODELS[name], *side["clip_ms"], side["clip_ratio"], side["batch_ratio"], ratio]
                for kind, name, side, ratio in sides
            ],
            names=2,
        ),
        "How long the compiler makes the first clip and the first batch wait:",
        table(
            ["precision", "model", "first clip, s", "first batch, s"],
            [[kind, MODELS[name], *side["warm_up_s"]] for kind, name, side, _ in sides],
            names=2,
        ),
    ]


def describe_one_clip(one: dict[str, dict]) -> list[str]:
    """The three forms of weights; one: the figures of `one_clip`."""
    return [
        paragraph(
            "One clip of 50 frames with the weights in three forms: as PyTorch keeps them, packed (what the scripts do "
            "on a CPU), and in int8 (`--precision int8`):"
        ),
        table(
            ["model", "plain, ms", "packed, ms", "int8, ms", "plain / packed", "int8 / packed"],
            [
                [
                    MODELS[name],
                    *(one["milliseconds"][f"{name}_{kind}"] for kind in ("plain", "packed", "int8")),
                    *(one["over_packed"][name][kind] for kind in ("plain", "int8")),
                ]
                for name in one["over_packed"]
            ],
        ),
        "The same times over those of Direction 1:",
        table(
            ["weights", *(f"{MODELS[name]}: over Direction 1" for name in list(one["over_packed"])[1:])],
            [[kind, *ratios] for kind, ratios in one["over_direction_1"].items()],
        ),
    ]


def main() -> None:
    parser = make_parser(__doc__, rounds=9)
    parser.add_argument("--clips", type=int, default=256, help="texts of the file; a multiple of 32 (default 256)")
    parser.add_argument("--no_compiled", action="store_true", help="leave out --compile, whose compiler takes minutes")
    args = parser.parse_args()
    if args.write and args.no_compiled:
        parser.error("--write needs all figures; leave --no_compiled out")
    report: dict[str, object] = {"onednn": prefer_onednn(), "freed_memory_kept": keep_freed_memory()}
    folder, capabilities = make_text_encoder(args.work_dir / "text_encoder"), torch.cpu.get_capabilities()
    kinds = ("fp32", "bf16") if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else ("fp32",)
    for kind in kinds:
        encoder = open_text_encoder(str(folder))
        report[kind] = measure(make_generators(encoder, kind), args.rounds, args.clips)
        if not args.no_compiled:
            report[kind]["compiled"] = compiled(encoder, kind, args.rounds)
    report["one_clip"] = one_clip(folder, args.rounds)
    print_json(report)
    if args.write:
        write_section("Sampling", *describe(report))


if __name__ == "__main__":
    main()
