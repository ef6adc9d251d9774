"""What a guided step costs at the default sizes, random weights, and what a long clip costs.

    python benchmarks/guidance.py [--rounds 3] [--write]

Prints JSON. `guided`: seconds of a trajectory guided away from the prior and of one guided away from the null text, by
the prior's width, for one clip of 50 frames in 50 steps and for 16 clips of 120 frames in 10; everything else is alike,
sync guidance included, and guidance begins at t = 0. `over_frames`: seconds of 10 guided steps of one clip. The sides
of a ratio are timed in turn, and each counts its least seconds.
"""

from collections.abc import Callable

import torch
from common import frozen, machine, make_parser, paragraph, print_json, table, time_in_turn, write_section

from models.guidance import UNCONDITIONAL
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.sampling_settings import SamplingSettings
from runtime.cpu import keep_freed_memory, prefer_onednn

WIDTHS, LENGTHS, TOKENS = (64, 128, 256, 512), (125, 250, 500, 1000, 2000), 12
CLIPS = {"one clip": (1, 50, 50), "16 clips": (16, 120, 10)}  # clips, frames, steps; all steps cost alike
LONG_STEPS = 10


def make_flow(prior_width: int = FlowConfig.prior_hidden_dim) -> LatentFlowMatcher:
    return frozen(
        LatentFlowMatcher(FlowConfig(prior_type="simple", prior_hidden_dim=prior_width, use_sync_guidance=True))
    )


def sampler(flow: LatentFlowMatcher, guidance_from: str, batch: int, frames: int, steps: int) -> Callable[[], object]:
    """Noise and trajectory, as a script that signs makes them."""
    settings = flow.resolve(SamplingSettings(steps, guidance_start=0.0, guidance_from=guidance_from))
    cond, cond_mask = torch.randn(batch, TOKENS, flow.config.cond_dim), torch.ones(batch, TOKENS, dtype=torch.bool)
    mask, time_table = torch.ones(batch, frames, dtype=torch.bool), flow.time_table(settings)
    return lambda: flow.sample(cond, cond_mask, mask, range(batch), settings, time_table)


def describe(report: dict) -> list[str]:
    """The section's paragraphs and tables."""
    seconds = report["over_frames"]
    return [
        paragraph(
            "`benchmarks/guidance.py --write` measured this section: default sizes, random weights, "
            f"{machine()}. Each number is the time with guidance away from the prior over that with guidance away from "
            "the null text:"
        ),
        table(
            [
                "width of the prior",
                *(f"{name} of {frames} frames, {steps} steps" for name, (_, frames, steps) in CLIPS.items()),
            ],
            [
                [width, *(f"{of_width[name]['prior'] / of_width[name]['null_text']:.2f}" for name in CLIPS)]
                for width, of_width in report["guided"].items()
            ],
        ),
        paragraph(
            f"One clip in {LONG_STEPS} guided steps, by its latents: one for each frame, or, with "
            "`--temporal_stride 4`, for each four. Attention makes the cost of very long clips grow faster than their "
            "length:"
        ),
        table(["latents", "time, s"], [[latents, f"{value:.2f}"] for latents, value in seconds.items()]),
    ]


@torch.no_grad()
def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS, help="of the prior")
    parser.add_argument("--frames", nargs="+", type=int, default=LENGTHS, help="of the long clips")
    args = parser.parse_args()
    report: dict[str, object] = {"onednn": prefer_onednn(), "freed_memory_kept": keep_freed_memory()}
    report["guided"] = {}
    for width in args.widths:
        flow, of_width = make_flow(width), {}
        for name, size in CLIPS.items():
            sides = {origin: sampler(flow, origin, *size) for origin in UNCONDITIONAL}
            seconds = time_in_turn(sides, args.rounds if size[0] == 1 else 1)
            of_width[name] = {origin: round(value, 3) for origin, value in seconds.items()}
        report["guided"][width] = of_width
    flow = make_flow()
    seconds = time_in_turn({frames: sampler(flow, "prior", 1, frames, LONG_STEPS) for frames in args.frames}, 1)
    report["over_frames"] = {frames: round(value, 2) for frames, value in seconds.items()}
    print_json(report)
    if args.write:
        write_section("Guidance and long clips", *describe(report))


if __name__ == "__main__":
    main()
