"""The model card of an exported checkpoint, in the form of the Hugging Face hub: what it is, for what, how good, whose.

The card takes facts from the checkpoint and figures from its evaluations. Names and licences come from the user.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from checkpoint_checks import MODEL_CONFIG_FILE
from checkpoints import AUTOENCODER, FLOW, POSE_TO_TEXT, PREDICTOR, PRIOR, SCRIPT_OF, STUDENT
from evaluation.registry import COLUMNS, Metric
from evaluation.report import BACK_TRANSLATION, LENGTH_SOURCES, MARKED, ROWS, is_marked
from runtime.errors import UserError, without_tricks
from runtime.flags import versions
from runtime.untrusted import escaped

WHAT = {
    AUTOENCODER: "The autoencoder of poses (stage 1): it compresses a signed clip to latents and decodes it again. "
    "Models from text to latents need it to sign.",
    PREDICTOR: "Direction 1, from text to signing in one pass: it predicts the latents of a clip from a text.",
    PRIOR: "The prior of Direction 2 alone, which knows no text. Stage 2 builds on it (--prior_checkpoint).",
    FLOW: "Direction 2, from text to signing by flow matching: it samples the latents of a clip for a text.",
    STUDENT: "The distilled student of Direction 2, from text to signing in 1, 2 or 4 steps.",
    POSE_TO_TEXT: "The back-translator, from poses to text: it reads clips, so that generated ones can be scored.",
}
ROW_OF = {AUTOENCODER: "reconstruction", POSE_TO_TEXT: "reference"}  # the rows of models that are not the row `model`
USE = {
    AUTOENCODER: "python train_stage2_latent_flow.py --data_dir DATA_DIR --autoencoder_checkpoint {folder} "
    "--output_dir runs/flow",
    PREDICTOR: 'python inference.py --text "..." --predictor_checkpoint {folder} --autoencoder_checkpoint AUTOENCODER',
    PRIOR: "python train_stage2_latent_flow.py --data_dir DATA_DIR --autoencoder_checkpoint AUTOENCODER "
    "--use_ssm_prior --prior_checkpoint {folder} --output_dir runs/flow",
    FLOW: 'python inference_latent_flow.py --text "..." --flow_checkpoint {folder} '
    "--autoencoder_checkpoint AUTOENCODER",
    POSE_TO_TEXT: "python evaluate.py --data_dir DATA_DIR --predictions_dir CLIPS "
    "--back_translation_checkpoint {folder} --output_dir runs/evaluation",
}
USE[STUDENT] = USE[FLOW] + " --num_steps 4"
LIMITS = {
    AUTOENCODER: "No more than this model reconstructs can be signed through it.",
    PRIOR: "It signs nothing by itself.",
    POSE_TO_TEXT: "It reads signing that resembles its training data. Its scores compare systems that were read by the "
    "same model, and no others; it is no translator.",
}
SIGNS_LIMITS = (
    "Generated signing does not replace an interpreter. Deaf signers have not judged it unless this card says so. It "
    "knows the words, the signers and the domain of its training data, and signs other texts wrongly without a word "
    "of warning. It draws a skeleton; nobody should be made to seem to sign what they did not."
)


@dataclass(frozen=True)
class Owner:
    """What only the user can say: names, languages and licences. What is None stays open, and the card says so."""

    title: str
    license: str = "unknown"  # an identifier of the Hugging Face hub
    license_name: str | None = None
    license_link: str | None = None
    data_name: str | None = None
    data_license: str | None = None
    languages: Sequence[str] = field(default_factory=list)


def model_card(
    content: Mapping[str, object],
    owner: Owner,
    reports: Mapping[Path, Mapping[str, object]],
    call: Mapping[str, Mapping[str, object]] | None = None,
) -> str:
    """The card of a checkpoint's content.

    reports: of its evaluations by their paths; raises UserError if one is of another model. call: what trained it, as
    `read_config` gives it, if that is known.
    """
    kind = content["kind"]
    for path, report in reports.items():
        _require_same_model(content, path, report)
    lines = [*_front_matter(owner, kind), "", f"# {owner.title}", "", WHAT[kind]]
    lines += ["", "## Use", "", f"    {USE[kind].format(folder='THIS_FOLDER')}", ""]
    if content["parent"] is not None:
        lines += [f"It works with the autoencoder of fingerprint `{content['parent']}` and no other.", ""]
    lines += ["## Intended use and limits", ""]
    lines += ["Research on sign language production. " + LIMITS.get(kind, SIGNS_LIMITS), ""]
    lines += ["## Training data", "", *_data(content, owner), ""]
    lines += ["## Figures", "", *_figures(kind, reports)]
    lines += ["## Licences", "", *_licences(owner), ""]
    lines += ["## Provenance", "", *_provenance(content, call)]
    return "\n".join(lines) + "\n"


def _require_same_model(content: Mapping[str, object], path: Path, report: Mapping[str, object]) -> None:
    name = BACK_TRANSLATION if content["kind"] == POSE_TO_TEXT else content["kind"]
    found = report["checkpoints"].get(name)
    if found != content["fingerprint"]:
        scored = f"the {name} {found}" if found else f"no {name}"
        raise UserError(f"{path}: scores {scored}, and not this checkpoint, {content['fingerprint']}; evaluate that")


def _front_matter(owner: Owner, kind: str) -> Iterator[str]:
    """YAML, whose texts may stand as JSON has them."""
    yield "---"
    for name in ("license", "license_name", "license_link"):
        if value := getattr(owner, name):
            yield f"{name}: {json.dumps(value, ensure_ascii=False)}"
    if owner.languages:
        yield "language:"
        yield from (f"- {json.dumps(language, ensure_ascii=False)}" for language in owner.languages)
    yield "tags:"
    yield from (f"- {tag}" for tag in ("sign-language", "sign-language-production", "pose", kind.replace("_", "-")))
    yield "---"


def _data(content: Mapping[str, object], owner: Owner) -> Iterator[str]:
    info = content["statistics"]["info"]
    counts = ", ".join(f"{info[name]:,} {name}" for name in ("clips", "frames") if type(info.get(name)) is int)
    counted = f": {counts}" if counts and not content.get("parent") else ""
    yield f"{owner.data_name or 'Not named by whoever exported this model'}{counted}."
    if counts and content.get("parent"):
        yield f"Its autoencoder was trained on {counts}."
    if type(info.get("fps")) in (int, float):
        yield f"The clips have {info['fps']:g} frames per second, and so do generated clips."
    if signers := content.get("signers"):
        yield f"It signs as one of the {len(signers)} signers of its data, whose names {MODEL_CONFIG_FILE} holds."
    yield "Poses are 75 keypoints of MediaPipe Holistic and 64 numbers of the face; no picture of a signer is kept."


def _figures(kind: str, reports: Mapping[Path, Mapping[str, object]]) -> Iterator[str]:
    if not reports:
        yield from ("None were given.", "")
    for report in reports.values():
        rows = {name: report[name] for name in ROWS if name in report}
        metrics = [metric for metric in COLUMNS if any(row.get(metric.key) is not None for row in rows.values())]
        length = LENGTH_SOURCES[report["length_source"]]
        yield f"{report['num_clips']} clips of {report['split']}; length of a generated clip: {length}."
        yield f"This model is the row `{ROW_OF.get(kind, 'model')}`; brackets are 95 % intervals over clips."
        yield ""
        yield f"| {report['split']} | " + " | ".join(metric.column.title for metric in metrics) + " |"
        yield "|---" * (len(metrics) + 1) + "|"
        for name, row in rows.items():
            cells = (_cell(row, metric, with_interval=name == ROW_OF.get(kind, "model")) for metric in metrics)
            yield f"| {name}{'*' * is_marked(row)} | " + " | ".join(cells) + " |"
        yield ""
        if any(map(is_marked, rows.values())):
            yield f"`*`: {MARKED}, so the row's other figures mean nothing."
            yield ""
        for warning in report.get("warnings", []):
            yield f"Warning on the row `model`: {without_tricks(warning, kept='')}."
            yield ""
        settings = report["settings"].items()
        listed = (f"{name} {value}" for name, value in settings if value is not None and not _is_path(name))
        yield f"Settings: {without_tricks(', '.join(listed), kept='')}."
        yield ""


def _cell(row: Mapping[str, object], metric: Metric, with_interval: bool) -> str:
    value, low, high = (row.get(f"{metric.key}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    digits = metric.column.digits
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if with_interval and None not in (low, high) else ""
    return f"{value:.{digits}f}{interval}"


def _is_path(name: str) -> bool:
    """Whether a flag of this name holds a path, which a card does not tell."""
    return name.endswith(("_dir", "_checkpoint"))


def _licences(owner: Owner) -> Iterator[str]:
    named = f"{owner.license_name} ({owner.license})" if owner.license_name else owner.license
    yield f"- Model: {named}{', ' + owner.license_link if owner.license_link else ''}"
    yield f"- Training data: {owner.data_license or 'not stated by whoever exported this model'}"
    yield "- A model may give away what it was trained on: the terms of the data bind its use too."


def _provenance(content: Mapping[str, object], call: Mapping[str, Mapping[str, object]] | None) -> Iterator[str]:
    weights = content["weights"].values()
    yield f"- Kind `{content['kind']}`, trained by `{SCRIPT_OF[content['kind']]}`, epoch {content.get('epoch', '?')}"
    yield f"- Fingerprint of the weights: `{content['fingerprint']}`"
    if content["parent"] is not None:
        yield f"- Fingerprint of its autoencoder: `{content['parent']}`"
    encoder = content.get("text_encoder") or {}
    if "name" in encoder:
        name = Path(encoder["name"]).name if Path(encoder["name"]).is_absolute() else encoder["name"]
        yield f"- Text encoder, not in this folder: `{name}`, fingerprint `{encoder.get('fingerprint', 'unknown')}`"
    elif encoder:
        yield "- Text encoder: from scratch, part of the weights"
    yield f"- {sum(tensor.numel() for tensor in weights):,} numbers in {len(weights)} tensors"
    for what, packages in (("Trained", call["versions"] if call else {}), ("Exported", versions())):
        if packages:
            yield f"- {what} with " + ", ".join(f"{name} {version}" for name, version in packages.items())
    yield ""
    flags = content["config"] if call is None else call["flags"] | call["defaults"]
    changes = [] if call is None else call.get("changes", [])
    for first, changed in reversed(changes):  # those after the epoch of these weights were not theirs
        if first > content.get("epoch", first):
            flags |= {name: before for name, (before, _) in changed.items() if name in flags}
    yield "The configuration of the network:" if call is None else "The flags of the training, without paths:"
    yield ""
    for name, value in flags.items():
        if name not in ("tokenizer", "text_encoder") and not _is_path(name):
            yield f"    {name}: {escaped(value)}"
    for first, changed in changes:
        if first <= content.get("epoch", first):
            listed = [f"{name} from {escaped(before)} to {escaped(after)}" for name, (before, after) in changed.items()]
            yield f"\nChanged on resuming, before epoch {first}: {', '.join(listed)}."
