"""Does the flow give back a distribution whose mean and covariance are known? Prints JSON, errors in percent.

    python benchmarks/gaussian.py                    # without prior, with both priors, one text and two; 15 minutes
    python benchmarks/gaussian.py --num_updates 300  # a glance

Each latent clip is a draw from a Gaussian over its 2 latents of 2 numbers, correlated across both. With two texts the
second one's mean is the first one's mirrored: what the prior, which sees no text, must not pull towards the middle.
"""

import copy
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.flow_matching import sample_ode, time_grid
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.sampling_settings import SamplingSettings
from models.whole_batch import Draws
from runtime.arguments import make_parser

LATENTS, DIM, COND_DIM = 2, 2, 8
MEAN = torch.tensor([0.8, -0.6, 0.5, 1.0])
COVARIANCE = torch.tensor(
    [[1.0, 0.5, 0.3, 0.0], [0.5, 1.0, 0.0, -0.3], [0.3, 0.0, 1.0, 0.4], [0.0, -0.3, 0.4, 1.0]]
)  # unit variances: latents are normalised


def noise(count: int, generator: torch.Generator) -> Tensor:
    """Draws [count,N*D] whose own mean and covariance are exactly 0 and I, so that no figure is noise of the draw."""
    z = torch.randn(count, LATENTS * DIM, generator=generator)
    z = z - z.mean(0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(z.T.cov()), z.T, upper=False).T


def gaussian(count: int, generator: torch.Generator) -> Tensor:
    """Draws [count,N,D] of the target, whose own mean and covariance are exactly the target's."""
    return (MEAN + noise(count, generator) @ torch.linalg.cholesky(COVARIANCE).T).view(count, LATENTS, DIM)


def texts(index: Tensor) -> tuple[Tensor, Tensor]:
    """One token for each text, [B,1,C], and its mask."""
    cond = torch.nn.functional.one_hot(index, COND_DIM).float()[:, None]
    return cond, torch.ones(len(index), 1, dtype=torch.bool)


def train(
    prior_type: str, lambda_prior: float, num_updates: int, num_texts: int = 1, batch_size: int = 512, seed: int = 0
) -> LatentFlowMatcher:
    """The averaged weights of a small flow after `num_updates` steps of its own loss."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    draws = Draws.of(list(map(str, range(batch_size))), seed)
    config = FlowConfig(
        latent_dim=DIM,
        hidden_dim=32,
        num_layers=2,
        num_heads=2,
        cond_dim=COND_DIM,
        dropout=0.0,
        prior_type=prior_type,
        prior_hidden_dim=32,
        prior_layers=1,
        lambda_prior=lambda_prior,
    )
    model = LatentFlowMatcher(config).train()
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=20),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates - 20, eta_min=1e-4),
        ],
        milestones=[20],
    )
    mask = torch.ones(batch_size, LATENTS, dtype=torch.bool)
    index = torch.arange(batch_size) % num_texts
    sign = (1.0 - 2.0 * index)[:, None, None] if num_texts == 2 else 1.0
    for update in range(num_updates):
        z_1 = sign * gaussian(batch_size, generator)
        optimizer.zero_grad()
        model.loss(z_1, mask, *texts(index), draws)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            keep = min(0.99, (1 + update) / (10 + update))
            for mine, other in zip(average.parameters(), model.parameters(), strict=True):
                mine.lerp_(other, 1 - keep)
    return average


@torch.no_grad()
def sample(model: LatentFlowMatcher, num_steps: int, solver: str, count: int = 20_000) -> Tensor:
    """Samples [count,N*D] of the first text."""
    z_0 = noise(count, torch.Generator().manual_seed(99)).view(count, LATENTS, DIM)
    mask = torch.ones(count, LATENTS, dtype=torch.bool)
    settings = model.resolve(SamplingSettings(guidance_scale=1.0))
    field = model.guided_field(*texts(torch.zeros(count, dtype=torch.long)), mask, settings)
    return sample_ode(field, z_0, time_grid(num_steps), solver).flatten(1)


def errors(samples: Tensor, mean: Tensor = MEAN, covariance: Tensor = COVARIANCE) -> tuple[float, float]:
    """Distance of mean and covariance of samples [count,d] from the truth, in percent of the truth's norm."""
    of_mean = (samples.mean(0) - mean).norm() / mean.norm()
    of_covariance = (samples.T.cov() - covariance).norm() / covariance.norm()
    return 100 * of_mean.item(), 100 * of_covariance.item()


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--num_updates", type=int, default=4000)
    parser.add_argument("--lambda_prior", type=float, nargs="*", default=[0.1])
    parser.add_argument("--prior_type", nargs="*", default=["none", "simple", "mamba"])
    parser.add_argument("--num_texts", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--num_steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for num_texts in args.num_texts:
        for prior_type in args.prior_type:
            for lambda_prior in args.lambda_prior if prior_type != "none" else [0.0]:
                started = time.perf_counter()
                model = train(prior_type, lambda_prior, args.num_updates, num_texts, seed=args.seed)
                row = {"texts": num_texts, "prior": prior_type, "lambda_prior": lambda_prior, "steps": args.num_steps}
                for solver in ("euler", "ab2"):
                    mean, covariance = errors(sample(model, args.num_steps, solver))
                    row[solver] = {"mean_error": round(mean, 2), "covariance_error": round(covariance, 2)}
                print(json.dumps({**row, "seconds": round(time.perf_counter() - started, 1)}), flush=True)


if __name__ == "__main__":
    main()
