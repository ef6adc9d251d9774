"""Checkpoints of others: whatever is wrong with one is a sentence, before anything larger than its file is built."""

import pickle
from pathlib import Path

import hostile
import hostile_checkpoints
import pytest
import torch
from hostile_checkpoints import READERS, honest, written

import checkpoint_checks
from checkpoint_checks import (
    TensorHeader,
    build_config,
    build_fitting,
    check_config,
    check_optimizer_state,
    read_header,
)
from checkpoints import AUTOENCODER, PREDICTOR, load_checkpoint
from models.autoencoder import AutoencoderConfig
from models.consistency_distillation import StudentConfig
from models.latent_flow_matcher import FlowConfig
from models.pose_to_text import PoseToTextConfig
from runtime.errors import UserError


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What is said to every checkpoint, each read within 10 seconds, 200 MB and four times its size."""
    return hostile.said_by(hostile_checkpoints.__file__, tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind, reader in READERS.items() for case in reader.files])
def test_a_checkpoint_that_harms_is_one_sentence(kind: str, case: str, said):
    hostile.check_sentence(said[kind][case], READERS[kind], case)


def test_an_honest_checkpoint_is_read_under_the_same_limits(said):
    assert (said["honest autoencoder"], said["honest predictor"]) == ("nothing", "nothing")


@pytest.mark.parametrize("kind", [AUTOENCODER, PREDICTOR])
def test_the_header_says_what_a_checkpoint_holds_without_its_numbers(kind: str, tmp_path: Path):
    written(kind, lambda content: None)(tmp_path / "last.pt")
    content, header = load_checkpoint(tmp_path / "last.pt", kind), read_header(tmp_path / "last.pt")

    def headers_of(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return TensorHeader(value.dtype, tuple(value.shape))
        if isinstance(value, dict):
            return {key: headers_of(item) for key, item in value.items()}
        return [headers_of(item) for item in value] if isinstance(value, list) else value

    assert header == headers_of(content)
    assert header["weights"] == headers_of(honest(kind)["weights"])


def test_tensors_of_every_kind_and_parts_of_tensors_are_in_the_header(tmp_path: Path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"part": whole[1:, 2], "turned": whole.t(), "number": torch.tensor(1.0), "none": torch.ones(0, 3)}
    kinds = ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    tensors |= {kind: torch.ones(3, dtype=getattr(torch, kind)) for kind in kinds}
    torch.save(tensors, tmp_path / "a.pt")
    assert read_header(tmp_path / "a.pt") == {
        name: TensorHeader(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(("version", "refused"), [("2.9.1", True), ("2.10.0+cpu", False), ("3.0.0a1", False)])
def test_a_torch_that_a_checkpoint_can_harm_is_refused(version: str, refused: bool, monkeypatch):
    monkeypatch.setattr(torch, "__version__", version)
    if refused:
        with pytest.raises(UserError, match=r"torch 2\.9\.1 may run .* \(CVE-2026-24747\); install torch 2\.10"):
            checkpoint_checks.require_safe_torch()
    else:
        checkpoint_checks.require_safe_torch()


def test_the_default_of_every_configuration_passes_its_check():
    tokenizer = honest(PREDICTOR)["text_encoder"]["scratch"]["tokenizer"]
    for config in (AutoencoderConfig(), FlowConfig(), FlowConfig(max_frames=9), PoseToTextConfig(tokenizer)):
        check_config(type(config), {**vars(config)})
    check_config(StudentConfig, {**vars(StudentConfig()), "step_counts": [1, 2, 4], "guidance_scale": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_inference_steps", 0),
        ("num_inference_steps", 1001),
        ("guidance_scale", "two"),
        ("lambda_prior", -1.0),
        ("guidance_scale", float("inf")),
        ("use_sync_guidance", 1),
        ("prior_type", None),
        ("max_frames", 0),
        ("max_frames", 1.5),
        ("cfg_dropout", 1),
        ("num_layers", 1001),
    ],
)
def test_a_flow_with_a_wrong_setting_is_named(name: str, value: object):
    with pytest.raises(ValueError, match=f"^{name} is "):
        check_config(FlowConfig, {name: value})


@pytest.mark.parametrize("value", [(0,), 4, (1.5,), [3, 1001]])
def test_a_student_with_wrong_step_counts_is_named(value: object):
    with pytest.raises(UserError, match=r"\(step_counts "):
        build_config(StudentConfig, {"step_counts": value}, "a.pt")


def test_what_is_built_to_compare_draws_no_random_number():
    def make() -> torch.nn.Linear:
        return torch.nn.Linear(3, 2)

    torch.manual_seed(0)
    expected = make().state_dict()
    torch.manual_seed(0)
    torch.testing.assert_close(build_fitting(make, expected, "x").state_dict(), expected)


def test_an_optimiser_of_another_model_is_refused():
    def trained(*widths: int) -> torch.optim.Optimizer:
        parameters = [torch.nn.Parameter(torch.ones(width)) for width in widths]
        optimizer = torch.optim.AdamW(parameters)
        sum(parameter.sum() for parameter in parameters).backward()
        optimizer.step()
        return optimizer

    ours = trained(3, 2)
    check_optimizer_state(ours, ours.state_dict(), "last.pt")
    check_optimizer_state(ours, torch.optim.AdamW(ours.param_groups[0]["params"]).state_dict(), "last.pt")
    for theirs in (trained(3, 4), trained(3), trained(3, 2, 1)):
        with pytest.raises(UserError, match=r"last\.pt: its optimiser is of another model"):
            check_optimizer_state(ours, theirs.state_dict(), "last.pt")
    for change in (
        lambda state: state["state"].update({9: {}}),
        lambda state: state["state"][0].update(exp_avg=None),
        lambda state: state["param_groups"][0].pop("lr"),
        lambda state: state["param_groups"].append({"params": []}),
    ):
        state = pickle.loads(pickle.dumps(ours.state_dict()))
        change(state)
        with pytest.raises(UserError, match="of another model"):
            check_optimizer_state(ours, state, "last.pt")
