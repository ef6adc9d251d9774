"""When guidance by the text and by synchrony acts on a flow's trajectory, and which of its settings are refused."""

from typing import Protocol

import torch

from models.flow_matching import DEFAULT_SOLVER, evaluation_times, time_grid, within
from models.sampling_settings import SamplingSettings, SettingRefused, require_as_trained
from models.sync_guidance import SYNC_INTERVAL

UNCONDITIONAL = ("prior", "null_text")  # the estimates that guidance by the text may move away from
TEXT_GUIDANCE_END = 0.9  # of t: after it, guidance by the text only adds trembling


class GuidedConfig(Protocol):
    """What a flow's configuration says of its guidance."""

    prior_type: str
    use_sync_guidance: bool
    gamma_guidance: float
    num_inference_steps: int
    guidance_scale: float
    guidance_start: float
    guidance_from: str
    has_null_text: bool


def require_guidance_start(guidance_start: float) -> None:
    """Raises SettingRefused if guidance by the text would begin after its end."""
    if not 0 <= guidance_start < TEXT_GUIDANCE_END:
        raise SettingRefused("guidance_start", f"guidance by the text ends at {TEXT_GUIDANCE_END}", guidance_start)


def guided_within(settings: SamplingSettings) -> tuple[float, float]:
    """The times between which guidance by the text acts (limited interval, Kynkäänniemi et al. 2024, 2404.07724).

    A scale below 1, which weakens the text, acts throughout.
    """
    return (settings.guidance_start, TEXT_GUIDANCE_END) if settings.guidance_scale > 1.0 else (0.0, torch.inf)


def field_jumps(settings: SamplingSettings) -> tuple[float, ...]:
    """The times at which guidance by the text begins and ends, and the field jumps.

    Sync guidance jumps, too, by at most gamma_guidance times the velocity. Its times are left out: at the default 0.01
    a solver that starts anew there loses more than the jump costs.
    """
    return guided_within(settings) if settings.guidance_scale > 1.0 else ()


def resolve_sampling(config: GuidedConfig, settings: SamplingSettings) -> SamplingSettings:
    """The settings, with the configuration's values in place of None; guidance that no step reaches is switched off.

    Raises SettingRefused if a flow of this configuration cannot follow them.
    """
    require_as_trained("use_ssm_prior", settings.use_ssm_prior, config.prior_type != "none")
    if settings.use_sync_guidance and not config.use_sync_guidance:
        raise SettingRefused("use_sync_guidance", "this flow was trained without it")
    if settings.guidance_from == "prior" and config.prior_type == "none":
        raise SettingRefused("guidance_from", "this flow has no prior", "prior")
    with_sync = config.use_sync_guidance and settings.use_sync_guidance is not False
    if settings.gamma_guidance and not with_sync:
        raise SettingRefused("gamma_guidance", "this flow has no sync guidance, or it is switched off")
    guidance_from = settings.guidance_from or config.guidance_from
    steps = config.num_inference_steps if settings.num_steps is None else settings.num_steps
    solver = settings.solver or DEFAULT_SOLVER
    scale, start = _text_guidance(config, settings, steps, solver)
    gamma = _sync_guidance(config, settings, steps, solver) if with_sync else 0.0
    if guidance_from == "null_text" and scale != 1 and not config.has_null_text:
        raise SettingRefused("guidance_from", "training never dropped a text (cfg_dropout 0)", "null_text")
    return SamplingSettings(
        num_steps=steps,
        guidance_scale=scale,
        guidance_start=start,
        solver=solver,
        use_ssm_prior=config.prior_type != "none",
        use_sync_guidance=with_sync,
        guidance_from=guidance_from,
        gamma_guidance=gamma,
    )


def _text_guidance(config: GuidedConfig, settings: SamplingSettings, steps: int, solver: str) -> tuple[float, float]:
    """Scale and start that guidance by the text has in effect: scale 1 if no step falls into its interval, and start 0
    if the scale is at most 1.

    Raises SettingRefused for a setting that the user gave and that would do nothing.
    """
    scale = config.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
    start = config.guidance_start if settings.guidance_start is None else settings.guidance_start
    require_guidance_start(start)
    times = evaluation_times(time_grid(steps), solver)
    if scale > 1.0 and not within(times, (start, TEXT_GUIDANCE_END)).any():
        for name in ("guidance_start", "guidance_scale", "guidance_from"):
            if (asked := getattr(settings, name)) is not None:
                reason = f"guidance by the text acts from {start:g} to {TEXT_GUIDANCE_END}"
                raise SettingRefused(name, f"{reason}, and none of {steps} steps lies there", asked)
        scale = 1.0
    if scale > 1.0:
        return scale, start
    if scale == 1.0 and settings.guidance_from is not None:
        raise SettingRefused("guidance_from", "a guidance scale of 1 leads away from nothing", settings.guidance_from)
    if settings.guidance_start:
        raise SettingRefused("guidance_start", f"a guidance scale of {scale:g} has no beginning", start)
    return scale, 0.0


def _sync_guidance(config: GuidedConfig, settings: SamplingSettings, steps: int, solver: str) -> float:
    """The gamma that sync guidance has in effect: 0 if no step falls into its interval.

    Raises SettingRefused for a gamma that the user gave and that would do nothing.
    """
    if within(evaluation_times(time_grid(steps), solver), SYNC_INTERVAL).any():
        return config.gamma_guidance if settings.gamma_guidance is None else settings.gamma_guidance
    if settings.gamma_guidance:
        reason = "sync guidance acts from {} to {}".format(*SYNC_INTERVAL)
        raise SettingRefused(
            "gamma_guidance", f"{reason}, and none of {steps} steps lies there", settings.gamma_guidance
        )
    return 0.0
