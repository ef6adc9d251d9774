"""One checkpoint format for every stage: tensors and plain values, enough to rebuild the model and to resume training.

format, kind, config, weights (EMA), statistics, parent (fingerprint of the autoencoder it was trained on),
text_encoder, signers, train_clips (digests of what it learnt from), epoch, fingerprint. last.pt also has `training`
(training/state.py): raw weights, optimiser, schedule, the scaler of fp16, progress with the best dev loss so far,
threads, made_with (the settings of the run), under_way (the state of an interrupted epoch), and changed (what
--override changed).

Training writes it as one file, .pt. export.py writes the same, without `training`, as a folder: model.safetensors, the
other values in config.json, and a model card. Every script that reads a checkpoint reads both forms.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch

from checkpoint_checks import (
    MODEL_CONFIG_FILE,
    WEIGHTS_FILE,
    build_config,
    build_fitting,
    check_header,
    check_numbers,
    read_header,
    require_safe_torch,
)
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.consistency_distillation import Student, StudentConfig
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.latent_predictor import LatentPredictor, PredictorConfig
from models.mamba_prior import PriorAlone, PriorConfig
from models.pose_to_text import PoseToText, PoseToTextConfig
from models.text_encoder import SCRATCH
from models.text_to_latent import Network, TextToLatent
from poses.statistics import Statistics
from runtime.errors import UserError
from runtime.files import write_whole, write_whole_folder
from runtime.untrusted import escaped, read_regular
from text_encoders import build_text_encoder, check_text_encoder

FORMAT = 1
AUTOENCODER, POSE_TO_TEXT = "autoencoder", "pose_to_text"
PREDICTOR, FLOW, STUDENT = LatentPredictor.kind, LatentFlowMatcher.kind, Student.kind
PRIOR = PriorAlone.kind
NETWORKS: dict[str, tuple[type, type]] = {  # from text to latents, each with what builds it
    PREDICTOR: (LatentPredictor, PredictorConfig),
    FLOW: (LatentFlowMatcher, FlowConfig),
    STUDENT: (Student, StudentConfig),
}
SCRIPT_OF = {
    AUTOENCODER: "train_stage1_autoencoder.py",
    PREDICTOR: "train_stage2_predictor.py",
    PRIOR: "train_stage2_prior.py",
    FLOW: "train_stage2_latent_flow.py",
    STUDENT: "train_stage3_distillation.py",
    POSE_TO_TEXT: "train_pose_to_text.py",
}
CARD_FILE = "README.md"
_REQUIRED = {"format", "kind", "config", "weights", "statistics", "parent", "fingerprint"}

Config = TypeVar("Config")
PoseNetwork = TypeVar("PoseNetwork", bound=torch.nn.Module)


def fingerprint(weights: dict[str, torch.Tensor]) -> str:
    """Twelve hexadecimal digits that differ where any weight differs."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def save_checkpoint(path: Path, content: dict) -> None:
    """Write a checkpoint whole or not at all."""
    with write_whole(path) as file:
        try:
            torch.save({"format": FORMAT, "fingerprint": fingerprint(content["weights"]), **content}, file)
        except RuntimeError as error:  # what PyTorch makes of a full disk
            raise OSError(f"PyTorch's writer failed: {str(error).splitlines()[0]}") from error


def export_checkpoint(folder: Path, content: dict, card: str) -> None:
    """Write a checkpoint's content, as `read_checkpoint` gives it, as a folder with a model card, whole or not at all.

    The optimiser's and other states of last.pt are left out.
    """
    values = {name: value for name, value in content.items() if name not in ("weights", "training")}
    try:
        lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in values.items()]
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder}: not written: JSON cannot express a value of the checkpoint ({error})") from None
    weights = {name: tensor.clone() for name, tensor in content["weights"].items()}  # each with memory of its own
    files = {
        WEIGHTS_FILE: safetensors.torch.save(weights, {"format": "pt"}),
        MODEL_CONFIG_FILE: ("{\n  " + ",\n  ".join(lines) + "\n}\n").encode(),
        CARD_FILE: card.encode(),
    }
    with write_whole_folder(folder) as new:
        for name, data in files.items():
            (new / name).write_bytes(data)


def require_exportable(folder: Path, overwrite: bool) -> None:
    """Raises UserError if the folder exists, unless it may be overwritten and holds an export and nothing else."""
    if not folder.exists():
        return
    if not overwrite:
        raise UserError(f"{folder}: already exists; replace it (--overwrite), or choose another --output_dir")
    others = sorted({path.name for path in folder.iterdir()} - {WEIGHTS_FILE, MODEL_CONFIG_FILE, CARD_FILE})
    if others or not (folder / WEIGHTS_FILE).is_file():
        what = f"more than a model ({others[0]})" if others else "no model"
        raise UserError(f"{folder}: holds {what}, so it is not replaced; choose another --output_dir")


def load_checkpoint(path: Path, *kinds: str) -> dict:
    """Read a checkpoint of one of `kinds`, a file or a folder, as this version writes it."""
    return _brought_up_to_date(read_checkpoint(path, *kinds))


def read_checkpoint(path: Path, *kinds: str) -> dict:
    """A checkpoint's content as it was written, by whatever version: tensors on the CPU, and plain values."""
    path = Path(path)
    writes = f"{SCRIPT_OF[kinds[0]]} writes one (best_model.pt)"
    if path.is_dir() and not (path / WEIGHTS_FILE).exists():
        raise UserError(f"{path}: no such checkpoint, as the folder has no {WEIGHTS_FILE}; {writes}")
    if not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: no such checkpoint; {writes}")
    if path.name == WEIGHTS_FILE:
        raise UserError(f"{path}: a part of a checkpoint; name its folder")
    require_safe_torch()
    header = content = read_header(path)
    if not isinstance(content, dict) or not content.keys() >= _REQUIRED:
        raise UserError(f"{path}: not a checkpoint of this project; {writes}")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path}: format {escaped(content['format'])}, but this version reads format {FORMAT}; train it again"
        )
    if content["kind"] not in kinds:
        wanted = " or ".join(kinds)
        raise UserError(
            f"{path}: a checkpoint of kind '{escaped(content['kind'])}', but '{wanted}' is needed here "
            f"({SCRIPT_OF[kinds[0]]})"
        )
    check_header(content, path)
    try:
        if path.is_dir():
            data = read_regular(path / WEIGHTS_FILE, (path / WEIGHTS_FILE).stat().st_size)
            content = header | {"weights": safetensors.torch.load(data)}
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception:  # a damaged archive raises almost anything
        raise UserError(f"{path}: not a readable checkpoint (truncated?); copy it again or use another") from None
    check_numbers(content, fingerprint(content["weights"]), path)
    return content


def _brought_up_to_date(content: dict) -> dict:
    """A checkpoint as this version writes it: parts with older names get today's names."""
    weights = [content["weights"]] + ([content["training"]["model"]] if "training" in content else [])
    config = dict(content["config"])
    if content["kind"] == AUTOENCODER:
        config.setdefault("presence", False)  # an earlier autoencoder drew both hands always
        config.setdefault("body_frame", False)
        config.setdefault("motion_kept", 1.0)
        made_with = content.get("training", {}).get("made_with", {})  # the noise was no part of the configuration
        config.setdefault("latent_noise", made_with.get("latent_noise", 0.0) if isinstance(made_with, dict) else 0.0)
    if content["kind"] == FLOW:
        config.setdefault("guidance_from", "null_text")  # an earlier flow knew no other guidance
        config.setdefault("gamma_unit", "gradient")
        config.setdefault("sync_pulls_lag", config.get("use_sync_guidance") is True)
    if content["kind"] in (FLOW, STUDENT):
        config.setdefault("guidance_start", 0.0)
    if content["kind"] in (FLOW, STUDENT) and "student_steps" in config:
        config["step_counts"] = config.pop("student_steps")  # a student was a flow that knew its steps
        names = {field.name for field in dataclasses.fields(NETWORKS[content["kind"]][1])}
        config = {name: value for name, value in config.items() if name in names}
        if content["kind"] == STUDENT:
            for state in weights:
                state.pop("net.null_token", None)
    if content["kind"] == POSE_TO_TEXT:
        for state in weights:
            for name in [name for name in state if re.match(r"decoder\.\d+\.(attention|cross)\.", name)]:
                new = name.replace(".attention.", ".self_attention.").replace(".cross.", ".cross_attention.")
                state[new] = state.pop(name)
    return {**content, "config": config}


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{where}: its weights do not fit its configuration ({reason}); train it again") from None


def load_autoencoder(path: Path, device: torch.device | str = "cpu") -> tuple[PoseAutoencoder, Statistics, dict]:
    """The frozen autoencoder, its data statistics, and the checkpoint's content without weights."""
    return _load_pose_network(path, AUTOENCODER, PoseAutoencoder, AutoencoderConfig, device)


def load_pose_to_text(path: Path, device: torch.device | str = "cpu") -> tuple[PoseToText, Statistics, dict]:
    """The frozen back-translator, the statistics that normalise its poses, and the content without weights."""
    return _load_pose_network(path, POSE_TO_TEXT, PoseToText, PoseToTextConfig, device)


def _load_pose_network(
    path: Path,
    kind: str,
    network_type: Callable[[Config, Statistics], PoseNetwork],
    config_type: type[Config],
    device: torch.device | str,
) -> tuple[PoseNetwork, Statistics, dict]:
    """A frozen network that reads poses, and so holds the statistics that normalise them."""
    content = load_checkpoint(path, kind)
    statistics = Statistics.from_dict(content["statistics"])
    config = build_config(config_type, content["config"], str(path))
    try:
        model = build_fitting(lambda: network_type(config, statistics), content["weights"], path)
    except ValueError as error:
        raise UserError(f"{path}: {error}; train it again") from None
    load_weights(model, content.pop("weights"), str(path))
    return model.to(device).eval().requires_grad_(False), statistics, content


def build_network(content: dict, where: str) -> Network:
    """The untrained network of a stage-2 or stage-3 checkpoint."""
    network_type, config_type = NETWORKS[content["kind"]]
    return network_type(build_config(config_type, content["config"], where))


def load_prior(path: Path, parent: str) -> tuple[PriorAlone, dict]:
    """The frozen prior that was trained alone and its checkpoint's content; `parent`: its autoencoder's fingerprint."""
    content = load_checkpoint(path, PRIOR)
    require_parent(content, parent, path)
    config = build_config(PriorConfig, content["config"], str(path))
    model = build_fitting(lambda: PriorAlone(config), content["weights"], path)
    load_weights(model, content["weights"], str(path))
    if not bool((model.latent_std > 0).all()):
        raise UserError(f"{path}: its latents have no spread; train it again")
    return model.eval().requires_grad_(False), content


def require_parent(content: dict, parent: str, path: Path) -> None:
    """Raises UserError if a checkpoint was not trained on the autoencoder whose fingerprint is `parent`."""
    if content["parent"] is None:
        raise UserError(f"{path}: does not say which autoencoder it was trained on; train it again")
    if content["parent"] != parent:
        raise UserError(
            f"{path}: trained on the autoencoder {escaped(content['parent'])}, but --autoencoder_checkpoint is "
            f"{parent}; pass the autoencoder it was trained on"
        )


def load_text_to_latent(
    path: Path, kinds: tuple[str, ...], parent: str, device: torch.device | str = "cpu", text_encoder: str | None = None
) -> tuple[TextToLatent, dict]:
    """A frozen stage-2 or stage-3 model and its checkpoint's content; `parent`: its autoencoder's fingerprint.

    text_encoder: name or folder of the pretrained text encoder, if it has moved since training.
    """
    content = load_checkpoint(path, *kinds)
    require_parent(content, parent, path)
    description = content.get("text_encoder")
    check_text_encoder(description, path)
    pretrained = None if SCRATCH in description else build_text_encoder(description, device, str(path), text_encoder)

    def make() -> TextToLatent:
        encoder = pretrained or build_text_encoder(description, device, str(path), text_encoder)
        return TextToLatent(build_network(content, str(path)), encoder, content.get("signers", ()))

    model = build_fitting(make, content["weights"], path)
    load_weights(model, content["weights"], str(path))
    return model.to(device).eval().requires_grad_(False), content


def require_same_latents(config: object, space: AutoencoderConfig, where: object) -> None:
    """Raises UserError if a network's latents do not have the shape of the space in which it samples."""
    for name in ("latent_dim", "temporal_stride"):
        own, wanted = getattr(config, name, None), getattr(space, name)  # a predictor knows no stride
        if own not in (None, wanted):
            raise UserError(
                f"{where}: its {name} is {own}, but that of its space is {wanted}; copy it again or use another"
            )


def require_equal(flag: str, given: object, kept: object, where: object) -> None:
    """A flag that was given must agree with what a checkpoint says."""
    if given is not None and given != kept:
        raise UserError(f"{flag} {given} contradicts {kept} in {where}; leave the flag out or use another checkpoint")
