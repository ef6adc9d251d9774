"""How latents are sampled, as a user asks for it and as a network can follow it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SamplingSettings:
    """How latents are sampled. None means the value of the network's configuration."""

    num_steps: int | None = None
    guidance_scale: float | None = None
    guidance_start: float | None = None
    solver: str | None = None
    use_ssm_prior: bool | None = None
    use_sync_guidance: bool | None = None
    guidance_from: str | None = None
    gamma_guidance: float | None = None


class SettingRefused(ValueError):
    """A sampling setting that a network cannot follow; `setting` is its name, a field of `SamplingSettings`."""

    def __init__(self, setting: str, reason: str, asked: object = None) -> None:
        super().__init__(f"{setting}: {reason}" if asked is None else f"{setting} {_plain(asked)}: {reason}")
        self.setting = setting


def require_as_trained(setting: str, asked: object, trained: object) -> None:
    """Raises SettingRefused if `asked` is neither None nor what the network was trained with."""
    if asked is not None and asked != trained:
        raise SettingRefused(setting, f"the checkpoint was trained with {_plain(trained)}", asked)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class TrajectoryConfig(Protocol):
    """What `describe` reads of a flow's or a student's configuration."""

    start: str
    space: str
    prior_type: str


def describe(config: TrajectoryConfig, settings: SamplingSettings) -> dict[str, object]:
    """What decides the latents besides text, length and seed; `settings` as `resolve` gives them."""
    return {
        "num_steps": settings.num_steps,
        "guidance_scale": settings.guidance_scale,
        "guidance_start": settings.guidance_start,
        "guidance_from": settings.guidance_from,
        "solver": settings.solver,
        "start": config.start,
        "space": config.space,
        "prior": config.prior_type,
        "sync_guidance": settings.use_sync_guidance,
        "gamma_guidance": settings.gamma_guidance,
    }
