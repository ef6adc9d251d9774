"""The state space priors on a CPU: forward and backward of 32 clips of 120 frames at the default width.

    python benchmarks/prior.py [--rounds 5] [--write]

Prints JSON. `mixer_over_transformers`: transformers' MambaMixer, slow path, over ours on the same weights (one mixer of
the prior's width), with the memory of a plain process, then with `keep_freed_memory`, as our scripts run: the slow path
gains most by that. `mamba_over_simple`: MambaPrior over SimpleSSMPrior, both as the flow builds them. `over_frames`:
milliseconds of MambaPrior for one clip, forward and backward; `exponent`: their slope in a log-log fit from 250 frames
on, 1 for a cost that is linear.
"""

import numpy as np
import torch
from common import machine, make_parser, paragraph, print_json, table, time_in_turn, write_section
from torch import Tensor, nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer as TransformersMixer

from models.latent_flow_matcher import FlowConfig
from models.mamba_prior import MambaMixer, PriorConfig, build_prior
from runtime.cpu import keep_freed_memory, prefer_onednn

BATCH, FRAMES = 32, 120
LENGTHS = (125, 250, 500, 1000, 2000)


def train_step(module: nn.Module, *inputs: Tensor) -> None:
    module.zero_grad(set_to_none=True)
    module(*inputs).square().mean().backward()


def make_prior(kind: str) -> nn.Module:
    flow = FlowConfig()
    prior = build_prior(PriorConfig(kind, flow.latent_dim, flow.prior_hidden_dim, flow.prior_layers))
    for parameter in prior.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return prior


def clips(batch: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(batch, frames, FlowConfig().latent_dim), torch.rand(batch), torch.ones(batch, frames).bool()


def describe(report: dict) -> list[str]:
    """The section's paragraphs and tables."""
    started, kept = report["mixer_over_transformers"]
    return [
        paragraph(
            "`benchmarks/prior.py --write` measured this section: forward and backward pass, "
            f"{BATCH} clips of {FRAMES} frames, default width, {machine()}."
        ),
        table(
            ["time compared", "ratio"],
            [
                ["transformers' MambaMixer / ours, same weights, memory as processes start", started],
                ["transformers' MambaMixer / ours, same weights, both keep freed memory", kept],
                ["MambaPrior / SimpleSSMPrior", report["mamba_over_simple"]],
            ],
        ),
        paragraph(
            "MambaPrior on one clip. The time grows with the frames to the power of "
            f"{report['exponent']}, fitted from {LENGTHS[1]} frames on; 1 would be linear:"
        ),
        table(["frames", "time, ms"], report["over_frames"].items()),
    ]


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    onednn, width = prefer_onednn(), FlowConfig().prior_hidden_dim
    sizes = {"state_size": 16, "conv_kernel": 4, "expand": 2, "time_step_rank": -(-width // 16), "num_hidden_layers": 1}
    theirs, ours = TransformersMixer(MambaConfig(hidden_size=width, **sizes), layer_idx=0), MambaMixer(width)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(BATCH, FRAMES, width)
    with torch.no_grad():
        difference = (ours(x) - theirs(x)).abs().max().item()
    sides = {"theirs": lambda: train_step(theirs, x), "ours": lambda: train_step(ours, x)}
    plain = time_in_turn(sides, max(1, args.rounds // 2))
    keep_freed_memory()
    mixers = time_in_turn(sides, max(1, args.rounds // 2))

    mamba, simple = make_prior("mamba"), make_prior("simple")
    batch = clips(BATCH, FRAMES)
    priors = time_in_turn(
        {"mamba": lambda: train_step(mamba, *batch), "simple": lambda: train_step(simple, *batch)}, args.rounds
    )
    one_clip = {length: clips(1, length) for length in LENGTHS}
    lengths = time_in_turn({str(n): lambda n=n: train_step(mamba, *one_clip[n]) for n in LENGTHS}, args.rounds)
    milliseconds = {n: round(1000 * lengths[str(n)], 1) for n in LENGTHS}
    slope = np.polyfit(np.log(LENGTHS[1:]), np.log([milliseconds[n] for n in LENGTHS[1:]]), 1)[0]
    report = {
        "onednn": onednn,
        "mixer_over_transformers": [round(side["theirs"] / side["ours"], 1) for side in (plain, mixers)],
        "mixer_seconds": [{name: round(value, 4) for name, value in side.items()} for side in (plain, mixers)],
        "mixer_difference": difference,
        "mamba_over_simple": round(priors["mamba"] / priors["simple"], 2),
        "prior_seconds": {name: round(value, 3) for name, value in priors.items()},
        "over_frames": milliseconds,
        "exponent": round(float(slope), 2),
    }
    print_json(report)
    if args.write:
        write_section("Prior", *describe(report))


if __name__ == "__main__":
    main()
