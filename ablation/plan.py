"""Which models an ablation trains and evaluates, as parts to run and rows to show.

Of each seed: Direction 1, the flow as a whole and without one thing each, and its student; all on one autoencoder and
read back by one back-translator. Sync guidance acts on samples alone, so the flow without it has the same weights.
"""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablation.parts import Part
from checkpoints import AUTOENCODER, POSE_TO_TEXT, SCRIPT_OF
from models.autoencoder import TEMPORAL_STRIDES
from models.consistency_distillation import STEP_COUNTS
from models.latent_flow_matcher import FlowConfig
from models.sampling_settings import SamplingSettings
from poses.body_frame import PLACE_DIM
from poses.presence import NUM_ARTICULATORS
from runtime.errors import UserError

RECIPES = Path(__file__).parent  # small.json, full_size.json
OF_THE_PLAN = ("--data_dir", "--cache_dir", "--output_dir", "--split", "--seed", "--resume_from", "--overwrite")
OF_THE_PLAN += ("--autoencoder_checkpoint", "--teacher_checkpoint", "--back_translation_checkpoint")
OF_THE_PLAN += ("--flow_checkpoint", "--predictor_checkpoint", "--predictions_dir", "--space", "--num_steps")
# What rows differ in: a recipe that gave it to all of them would give several rows one model.
OF_THE_ROWS = {
    "flow": ("--use_ssm_prior", "--use_sync_guidance"),
    "evaluation": ("--guidance_from", "--guidance_start", "--use_sync_guidance", "--no-use_sync_guidance"),
}
RECIPE_KEYS = ("autoencoder", "back_translation", "predictor", "flow", "prior", "student", "evaluation")
TEACHER_STEPS = (1, 2, 4, 8, 16, 50)
Recipe = dict[str, list[str]]  # the flags of every stage
GROUPS = ("components", "steps", "strides")
BASELINES = {  # rows of every evaluation, and their labels
    "reference": "reference",
    "reconstruction": "reconstruction",
    "nearest_text": "a real take of the nearest text",
    "random_clip": "random clip",
    "mean_pose": "mean pose",
}
MEASURED_DIM = NUM_ARTICULATORS + PLACE_DIM  # numbers of a latent that are not learnt
WHOLE = "Direction 2, 50 steps"  # the row that the others are compared with
NO_PRIOR, NULL_TEXT = "without the prior", "guided by the null text"  # rows that the null text guides


@dataclass(frozen=True)
class Row:
    """One line of the tables: a model and how it is sampled, with one evaluation for each seed.

    `scored` is the row of those evaluations that is shown: the model, or a floor or ceiling beside it.
    """

    label: str
    group: str
    model: str  # the part that trained it, without its seed
    num_steps: int | None = None
    use_sync_guidance: bool = True
    guidance_from: str | None = None  # as trained
    guidance_start: float | None = None  # as trained
    autoencoder: str = "autoencoder"
    scored: str = "model"

    @property
    def kind(self) -> str:
        return self.model.partition("_")[0]

    @property
    def evaluation(self) -> str:
        """The part that scores it, without its seed."""
        steps = f"_{self.num_steps}_steps" if self.num_steps else ""
        how = "" if self.guidance_from is None else f"_from_{self.guidance_from}"
        how += "" if self.guidance_start is None else f"_from_t_{self.guidance_start:g}"
        return f"evaluation_{self.model}{steps}{how}{'' if self.use_sync_guidance else '_no_sync'}"

    @property
    def sampling(self) -> SamplingSettings:
        """How its clips are sampled."""
        return SamplingSettings(
            self.num_steps,
            guidance_start=self.guidance_start,
            guidance_from=self.guidance_from,
            use_sync_guidance=None if self.use_sync_guidance else False,
        )


@dataclass(frozen=True)
class Plan:
    """The parts in an order in which they can run, and the rows that they give."""

    parts: list[Part]
    rows: list[Row]
    seeds: Sequence[int]


def seeded(name: str, seed: int) -> str:
    return f"{name}_seed{seed}"


def read_recipe(path: Path) -> Recipe:
    """The flags of every stage; `path` is JSON of one string each, like ablation/small.json."""
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
        flags = {key: _words(recipe[key]) for key in RECIPE_KEYS}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; --recipe is JSON like {RECIPES / 'small.json'}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a recipe ({error}); it is JSON like {RECIPES / 'small.json'}") from None
    if "--latent_dim" not in flags["autoencoder"] or "--temporal_stride" not in flags["autoencoder"]:
        raise UserError(f"{path}: its autoencoder needs --latent_dim and --temporal_stride; write them in")
    if unknown := next((key for key in recipe if key not in RECIPE_KEYS), None):
        raise UserError(f"{path}: '{unknown}' is no stage of a recipe; these are {', '.join(RECIPE_KEYS)}")
    if "--use_ssm_prior" not in flags["prior"]:
        raise UserError(f"{path}: 'prior' needs --use_ssm_prior, or no flow has a prior; write it in")
    for key, words in flags.items():
        own = next((word for word in words if word in (*OF_THE_PLAN, *OF_THE_ROWS.get(key, ()))), None)
        if own is not None:
            raise UserError(f"{path}: '{key}' has {own}, which the ablation sets itself; take it out")
    return flags


def _words(flags: str) -> list[str]:
    """The words of flags, `--name=value` as two; TypeError if they are no text."""
    if not isinstance(flags, str):
        raise TypeError("the flags of a stage are one text")
    return [part for word in shlex.split(flags) for part in (word.split("=", 1) if word.startswith("--") else [word])]


def make_rows(
    groups: Sequence[str],
    strides: Sequence[int],
    recipe_stride: int,
    *,
    with_sync: bool,
    joins_clips: bool,
    drops_texts: bool,
    guides: bool,
) -> list[Row]:
    """joins_clips, drops_texts: what the recipe's flow learns from; without the latter, no null text can guide.

    guides: whether its sampling is guided by the text.
    """
    whole = Row(WHOLE, "components", "flow", 50)
    rows = [replace(whole, label=label, group="baselines", scored=name) for name, label in BASELINES.items()]
    rows += [whole]
    if "components" in groups:
        rows += [
            Row("Direction 1", "components", "predictor"),
            Row(NO_PRIOR, "components", "flow_no_prior", 50),
            *([replace(whole, label=NULL_TEXT, guidance_from="null_text")] if guides else []),
            replace(whole, label="guided from the beginning", guidance_start=0.0),
            replace(whole, label="without sync guidance", use_sync_guidance=False),
            Row("in pose space", "components", "flow_pose", 50),
        ]
        rows += [Row("without joined clips", "components", "flow_not_joined", 50)] if joins_clips else []
    if "steps" in groups:
        rows += [Row(f"flow, {n} step{'s' * (n > 1)}", "steps", "flow", n) for n in TEACHER_STEPS]
        rows += [Row(f"student, {n} step{'s' * (n > 1)}", "steps", "student", n) for n in STEP_COUNTS]
    if "strides" in groups:
        other = {k: "" if k == recipe_stride else f"_stride{k}" for k in strides}
        made = [
            Row(f"generated, stride {k}", "strides", f"flow{end}", 50, autoencoder=f"autoencoder{end}")
            for k, end in other.items()
        ]
        rows += [
            replace(row, label=f"reconstructed, stride {k}", scored="reconstruction")
            for k, row in zip(strides, made, strict=True)
        ]
        rows += made
    rows = [row for row in rows if with_sync or row.use_sync_guidance]
    return [row for row in rows if drops_texts or row.label not in (NO_PRIOR, NULL_TEXT)]


def make_plan(
    recipe: Recipe,
    data_flags: Sequence[str],
    seeds: Sequence[int],
    groups: Sequence[str],
    strides: Sequence[int],
    *,
    with_sync: bool = True,
) -> Plan:
    """All parts, what is needed first, long trainings before short evaluations.

    with_sync: whether flows have sync guidance, for which the data need a face.
    """
    own = int(_number(recipe["autoencoder"], "--temporal_stride"))
    if own not in TEMPORAL_STRIDES:
        raise UserError(f"--recipe: --temporal_stride {own}; choose from {', '.join(map(str, TEMPORAL_STRIDES))}")
    learns = {
        "joins_clips": _number(recipe["flow"], "--joined_clips", 0.0) > 0,
        "drops_texts": _number(recipe["flow"], "--cfg_dropout", FlowConfig.cfg_dropout) > 0,
        "guides": _number([*recipe["flow"], *recipe["evaluation"]], "--guidance_scale", FlowConfig.guidance_scale) != 1,
    }
    rows = make_rows(groups, strides, own, with_sync=with_sync, **learns)
    models = {row.model: row for row in rows}
    autoencoders = {f"autoencoder_stride{k}": _with_stride(recipe["autoencoder"], k) for k in strides}
    parts = [
        Part(name, SCRIPT_OF[AUTOENCODER], (*data_flags, *flags))
        for name, flags in {"autoencoder": recipe["autoencoder"], **autoencoders}.items()
        if name in {row.autoencoder for row in rows}
    ]
    parts.append(Part("back_translation", SCRIPT_OF[POSE_TO_TEXT], (*data_flags, *recipe["back_translation"])))
    order = sorted(models, key=lambda name: name == "student")  # after its teacher
    parts += [_training(name, models[name], recipe, data_flags, seed, with_sync) for name in order for seed in seeds]
    evaluations = {row.evaluation: row for row in rows}
    parts += [_evaluation(row, recipe, data_flags, seed) for row in evaluations.values() for seed in seeds]
    return Plan(parts, rows, seeds)


def _place(flags: Sequence[str], name: str) -> int | None:
    """Where a flag's value stands: the last one counts, as for the scripts."""
    places = [place for place, word in enumerate(flags) if word == name]
    return places[-1] + 1 if places else None


def _number(flags: Sequence[str], name: str, default: float = math.nan) -> float:
    """The value of a flag of the recipe; raises UserError if it is no number."""
    place = _place(flags, name)
    if place is None:
        return default
    value = next(iter(flags[place:]), "")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--recipe: {name} '{value}' is no number; correct it")
    return number


def _with_stride(flags: Sequence[str], stride: int) -> list[str]:
    """The autoencoder's flags at another stride, with as many learnt numbers per second."""
    flags = list(flags)
    dim, own = (int(_number(flags, name)) for name in ("--latent_dim", "--temporal_stride"))
    learnt = (dim - MEASURED_DIM) * stride // own
    flags[_place(flags, "--latent_dim")] = str(max(1, learnt) + MEASURED_DIM)
    flags[_place(flags, "--temporal_stride")] = str(stride)
    return flags


def _training(name: str, row: Row, recipe: Recipe, data_flags: Sequence[str], seed: int, with_sync: bool) -> Part:
    flags = [*data_flags, "--autoencoder_checkpoint", f"@{row.autoencoder}/last.pt", *recipe[row.kind]]
    if row.kind == "flow":
        flags += ["--use_sync_guidance"] if with_sync else []
        flags += recipe["prior"] if name != "flow_no_prior" else []
        flags += ["--space", "pose"] if name == "flow_pose" else []
        flags += ["--joined_clips", "0"] if name == "flow_not_joined" else []
    if row.kind == "student":
        flags += ["--teacher_checkpoint", f"@{seeded('flow', seed)}/last.pt"]
    return Part(seeded(name, seed), SCRIPT_OF[row.kind], (*flags, "--seed", str(seed)))


def _evaluation(row: Row, recipe: Recipe, data_flags: Sequence[str], seed: int) -> Part:
    checkpoint = "--predictor_checkpoint" if row.kind == "predictor" else "--flow_checkpoint"
    flags = [*data_flags, checkpoint, f"@{seeded(row.model, seed)}/last.pt"]
    flags += ["--autoencoder_checkpoint", f"@{row.autoencoder}/last.pt", "--split", "test"]
    flags += ["--back_translation_checkpoint", "@back_translation/best_model.pt"]
    flags += ["--num_steps", str(row.num_steps)] if row.num_steps else []
    flags += [] if row.use_sync_guidance else ["--no-use_sync_guidance"]
    flags += ["--guidance_from", row.guidance_from] if row.guidance_from else []
    flags += [] if row.guidance_start is None else ["--guidance_start", f"{row.guidance_start:g}"]
    flags += recipe["evaluation"]
    # Seeds of their own, so that two runs of one text do not share their noise.
    return Part(seeded(row.evaluation, seed), "evaluate.py", (*flags, "--seed", str(100_000 * seed % 2**31)))
