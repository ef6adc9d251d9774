"""Resuming a stopped run: what must be as it was when the run began, and what is read from its last.pt."""

import argparse
import math
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from checkpoint_checks import check_optimizer_state, require_undamaged
from checkpoints import STUDENT, load_checkpoint, load_weights, require_equal
from models.text_encoder import SCRATCH
from poses.pack import Pack, digest
from poses.statistics import Statistics
from runtime.errors import UserError
from runtime.files import write_whole
from runtime.untrusted import escaped
from text_encoders import same_text_encoder
from training.run_folder import BEST, LAST
from training.settings import TrainSettings
from training.state import EpochState, Progress, Run, Stage

# Flags that change no result: they say where files are, and what a run does besides learning.
WITHOUT_EFFECT = {
    *("data_dir", "cache_dir", "output_dir", "skip_bad", "num_workers", "resume_from", "overwrite", "override"),
    *("save_every_minutes", "max_skipped_steps", "picture_every", "config", "quiet"),
}
# Flags that say how long and how fast a run learns. They may change when it resumes; the log names the change.
MAY_CHANGE = {"num_epochs", "min_steps", "early_stopping_patience", "learning_rate", "weight_decay"}
# Settings that change how a run learns, but not what its dev loss measures. After a change of any other, which
# --override allows, dev losses from before are of another scale.
SAME_DEV_LOSS = MAY_CHANGE | {
    *("seed", "batch_size", "gradient_accumulation_steps", "max_grad_norm", "ema_decay", "warmup_steps"),
    *("mixed_precision", "augmentation", "mixed_faces", "joined_clips", "followed_by", "joined_texts", "labelled_only"),
    *("trajectories_per_clip", "started_from"),
}
_PRIOR = "prior_checkpoint"  # key of a configuration: the fingerprint of the checkpoint that this flag names
# Flags whose values are not compared. What they lead to is: a checkpoint's fingerprint, or the configuration.
COMPARED_BY_CONTENT = {
    *("autoencoder_checkpoint", "teacher_checkpoint", "initial_checkpoint", "text_encoder", "ssm_prior_type", _PRIOR)
}
# Settings that an earlier version did not have, each with the value that behaves like that version.
EARLIER_VALUES = {
    **{"face_weight": 0.0, "joined_clips": 0.0, "joined_texts": 0.0, "trajectories": "4", "steps_learnt": "by count"},
    **{"mixed_faces": 0.0, "followed_by": "any", "started_from": "nothing", "labelled_only": False},
}
GUIDANCE_OF_VERSION = {"gamma_unit", "sync_pulls_lag"}  # keys of a flow's configuration that the version decides
DERIVED = {"max_frames", "has_null_text"}  # keys of a configuration that follow from flags and data
FLAG_OF = {"prior_type": "ssm_prior_type"}  # the flag of a configuration's key, where the names differ
OF_TEACHER = {"start", "start_layers", "prior_type", "use_sync_guidance", "gamma_guidance", "guidance_from"}
OF_SCRATCH = ("scratch_dim", "scratch_layers", "vocab_size", "dropout")  # flags that build a text encoder
_REASONS = {
    "data": "the clips or texts of train or dev differ",
    "teacher": "the teacher differs",
    "trajectories": "this version computes the teacher's trajectories differently",
    "steps_learnt": "this version learns the student's steps in other shares",
    "followed_by": "this version joins no clip with itself",
    "started_from": "the flow of --initial_checkpoint differs",
}


def made_with(args: argparse.Namespace, *packs: Pack, **more: str) -> dict:
    """What a run's result depends on besides its model: the flags, the clips and texts of its packs, and `more`."""
    flags = {name: value for name, value in vars(args).items() if name not in WITHOUT_EFFECT | COMPARED_BY_CONTENT}
    data = digest([[pack.info.get("content"), pack.ids, pack.texts] for pack in packs])
    return {**flags, "data": data, **more}


def resume(run: Run, stage: Stage, path: Path, settings: TrainSettings, accelerator: Accelerator) -> None:
    """Resume from a last.pt; from there on, the learning rate and weight decay of this call apply.

    A run that continues in another folder begins there with a copy of what it resumes from.
    """
    output_dir, device, process = Path(settings.output_dir), accelerator.device, accelerator.process_index
    if not path.is_file():
        raise UserError(f"{path}: no such file; a run leaves the {LAST} to resume from in its --output_dir")
    require_undamaged(path)
    content = load_checkpoint(path, stage.kind)
    _require_same_run(stage, content, path)
    state = content["training"]
    stage.train_clips = tuple(sorted({*stage.train_clips, *content.get("train_clips", ())}))  # --override may change it
    run.changed = _changes(stage, state, path, settings.override)
    comparable = run.changed.keys() <= SAME_DEV_LOSS
    if not comparable:
        print(f"note: dev losses before this change are of another scale; {BEST} is chosen from the epochs after it")
    load_weights(run.ema, content["weights"], str(path))
    load_weights(run.model, state["model"], str(path))
    check_optimizer_state(run.optimizer, state["optimizer"], path)
    _load_optimizer(run.optimizer, run.schedule, state)
    run.progress = Progress(**{field.name: state[field.name] for field in fields(Progress) if field.name in state})
    if run.scaler is not None and "scaler" in state:
        run.scaler.load_state_dict(state["scaler"])
    if "under_way" in state and run.changed.keys() - MAY_CHANGE:
        print("note: the interrupted epoch starts again, with the weights that it had reached")
    elif "under_way" in state:
        try:
            run.epoch = EpochState.load(state["under_way"], device, process)
        except ValueError:
            raise UserError(
                f"{path}: its training state is damaged ('under_way'); resume from another last.pt"
            ) from None
    if isinstance(state.get("changed"), dict):
        run.changed = state["changed"] | run.changed
    best, ours = path.with_name(BEST), output_dir / BEST
    if not best.is_file() or not comparable:  # this run writes one
        run.progress = replace(run.progress, best=math.inf, best_loss=math.inf, best_epoch=run.progress.epoch)
    if best.is_file() and best.resolve() != ours.resolve() and accelerator.is_main_process:
        _copy(best, ours)
    if not (output_dir / LAST).exists() and accelerator.is_main_process:  # a kill in the first epoch loses nothing
        _copy(path, output_dir / LAST)


def _copy(source: Path, target: Path) -> None:
    with write_whole(target) as file:
        file.write(source.read_bytes())


def _require_same_run(stage: Stage, content: dict, path: Path) -> None:
    """Raises UserError if a checkpoint has no training state, or is of another model, text encoder or data set."""
    if "training" not in content:
        raise UserError(f"{path}: holds no training state; resume from last.pt")
    _require_same_text_encoder(stage, content, path)
    ours, theirs = (config.get(_PRIOR) for config in (stage.config, content["config"]))
    if ours != theirs:
        if theirs is None:
            raise UserError(f"{path}: trained without --prior_checkpoint; leave the flag out")
        raise UserError(
            f"{path}: trained with the prior of fingerprint {escaped(theirs)}; name it by --prior_checkpoint"
        )
    for name, value in stage.config.items():
        if name not in DERIVED:
            kept = content["config"].get(name, value)
            if name in GUIDANCE_OF_VERSION and kept != value:
                raise UserError(f"{path}: a version that guided otherwise ({name} {kept}) began this run; begin again")
            if value is not None:
                taught = stage.kind == STUDENT and name in OF_TEACHER
                setting = f"the teacher's {name}" if taught else f"--{FLAG_OF.get(name, name)}"
                _require_same_value(setting, value, kept, path, taught=taught)
    require_equal("--autoencoder_checkpoint", stage.parent, content["parent"], path)
    if tuple(content.get("signers", ())) != stage.signers:
        raise UserError(f"{path}: trained with other signers; resume with the data set it was trained on")
    if Statistics.from_dict(content["statistics"]).fingerprint != stage.statistics.fingerprint:
        raise UserError(f"{path}: trained with other data statistics; resume with the data set it was trained on")


def _require_same_text_encoder(stage: Stage, content: dict, path: Path) -> None:
    ours, theirs = stage.text_encoder, content["text_encoder"]
    if same_text_encoder(theirs, ours):
        return
    kept = content["training"].get("made_with")
    if theirs and ours and SCRATCH in theirs and SCRATCH in ours and isinstance(kept, dict):
        for name in (name for name in OF_SCRATCH if name in kept and name in stage.made_with):
            _require_same_value(f"--{name}", stage.made_with[name], kept[name], path)
    raise UserError(f"{path}: trained with another text encoder, or on other texts from scratch; resume with those")


def _require_same_value(setting: str, value: object, kept: object, path: Path, *, taught: bool = False) -> None:
    """Raises UserError if a setting, of this run or of its teacher (`taught`), is not what the checkpoint kept."""
    if value == kept:
        return
    advice = "pass that"  # the value may be a default: to leave the flag out would not help
    if isinstance(value, bool) and isinstance(kept, bool):  # a switch takes no value
        value, kept = ("on" if switched else "off" for switched in (value, kept))
        advice = f"switch it {kept}"
    if taught:
        advice = "name the teacher that it had"
    raise UserError(f"{setting} {value} contradicts {kept} in {path}, with which the run began; {advice}")


def _changes(stage: Stage, state: dict, path: Path, override: bool) -> dict[str, list]:
    """The settings that differ from the stopped run's, [before, now] by name.

    Raises UserError if one of them may not change, unless `override`. Checkpoints of earlier versions kept no settings.
    """
    kept, ours = state.get("made_with", {}), stage.made_with
    if not isinstance(kept, dict):
        raise UserError(f"{path}: its training state is damaged ('made_with'); resume from another last.pt")
    kept = EARLIER_VALUES | kept if kept else kept
    if not kept.get("joined_clips"):
        kept = {name: value for name, value in kept.items() if name != "followed_by"}  # no clip was followed
    changes = {}
    for name in kept.keys() & ours.keys() - stage.config.keys():
        if None not in (kept[name], ours[name]) and kept[name] != ours[name]:
            changes[name] = [kept[name], ours[name]]
    changes = dict(sorted(changes.items()))
    refused = [] if override else [name for name in changes if name not in MAY_CHANGE]

    def listed(names: Iterable[str]) -> str:
        values = {name: f"--{name} is {changes[name][1]}, was {changes[name][0]}" for name in names}
        return ", ".join(_REASONS.get(name, value) for name, value in values.items())

    if refused:
        raise UserError(
            f"{path}: the run was started with other settings ({listed(refused)}); restore them, or pass --override"
        )
    if changes:
        print(f"note: resuming with changed settings: {listed(changes)}")
    return changes


def _load_optimizer(optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR, state: dict) -> None:
    """Load the moments and the step of a stopped run, but keep the learning rate and weight decay of this one."""
    ours = [{key: group[key] for key in ("initial_lr", "weight_decay")} for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict({**state["schedule"], "base_lrs": [group["initial_lr"] for group in ours]})
    for group, kept, factor in zip(optimizer.param_groups, ours, schedule.lr_lambdas, strict=True):
        group.update(kept, lr=kept["initial_lr"] * factor(schedule.last_epoch))
