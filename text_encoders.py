"""The text encoder of a checkpoint: opened from a folder or the hub, described, recognised, and built again."""

import dataclasses
import os
import socket
import urllib.parse

import torch

from checkpoint_checks import build_config
from models.text_encoder import SCRATCH, PretrainedTextEncoder, ScratchTextConfig, ScratchTextEncoder, TextEncoder
from runtime.errors import UserError, first_line


def describe_text_encoder(encoder: TextEncoder) -> dict:
    """What rebuilds a text encoder: its name and fingerprint, or the configuration of one from scratch."""
    if isinstance(encoder, ScratchTextEncoder):
        return {SCRATCH: dataclasses.asdict(encoder.config)}
    return {"name": encoder.name, "fingerprint": encoder.fingerprint}


def same_text_encoder(one: dict | None, other: dict | None) -> bool:
    """Whether two descriptions mean the same encoder; of pretrained ones the weights decide, not the path."""
    if one and other and "fingerprint" in one and "fingerprint" in other:
        return one["fingerprint"] == other["fingerprint"]
    if one and other and "name" in one:  # an earlier version kept no fingerprint
        return one["name"] == other.get("name")
    return one == other


def open_text_encoder(name: str, device: torch.device | str = "cpu", where: str | None = None) -> PretrainedTextEncoder:
    """The pretrained encoder of this name or folder; `where`: the checkpoint that was trained with it, if any."""
    try:
        return _read_text_encoder(name, device)
    except ValueError as error:
        if where is not None:
            raise UserError(f"{where}: its {error}; name its present place by --text_encoder") from None
        raise UserError(
            f"{error}; pass a local folder that holds one, or train one from scratch: --text_encoder {SCRATCH}"
        ) from None


def _read_text_encoder(name: str, device: torch.device | str) -> PretrainedTextEncoder:
    """A pretrained encoder from a local folder, the hub, or its cache. Raises ValueError."""
    from transformers import AutoModel, AutoTokenizer, logging  # slow to import, and needless for `scratch`

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    is_folder = os.path.isdir(name)
    where = f"text encoder {name}" if is_folder else f"text encoder '{name}'"
    if not is_folder and (os.path.isabs(name) or name.count("/") > 1):  # no name of the hub
        raise ValueError(f"{where} could not be loaded (no such folder)")
    local = {"local_files_only": not _hub_reachable()}  # without a hub the cache counts, and nothing is retried
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **local)
        model = AutoModel.from_pretrained(name, **local).to(device)
    except Exception as error:  # each format of weights and each tokenizer has errors of its own
        raise ValueError(f"{where} could not be loaded ({first_line(error)})") from None
    try:
        return PretrainedTextEncoder(name, tokenizer, model)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None


def _hub_reachable() -> bool:
    """Whether the model hub's name can be looked up, or a proxy does that."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    host = urllib.parse.urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def build_text_encoder(
    description: dict, device: torch.device | str, where: str, moved_to: str | None = None
) -> TextEncoder:
    """The text encoder of the checkpoint `where`; `moved_to`: present name or folder of a pretrained one."""
    if SCRATCH in description:
        if moved_to not in (None, SCRATCH):
            raise UserError(f"--text_encoder {moved_to}: {where} holds a text encoder of its own; leave the flag out")
        return ScratchTextEncoder(build_config(ScratchTextConfig, description[SCRATCH], f"{where}: text encoder"))
    encoder = open_text_encoder(moved_to or description["name"], device, where)
    if description.get("fingerprint", encoder.fingerprint) != encoder.fingerprint:  # earlier versions kept none
        raise UserError(
            f"{where}: trained with another text encoder than {encoder.name} is today; "
            "name the one it was trained with by --text_encoder"
        )
    return encoder


def check_text_encoder(description: object, where: object) -> None:
    """What rebuilds a text encoder: {"name": …} or {"scratch": its configuration}, and what a stage adds."""
    if isinstance(description, dict):
        name = description.get("name")
        if isinstance(description.get("scratch"), dict) or (
            type(name) is str and 0 < len(name) < 4096 and name.isprintable()
        ):
            return
    raise UserError(f"{where}: does not say what its text encoder is; train it again")
