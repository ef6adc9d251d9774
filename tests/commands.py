"""The project's commands, word for word as its users type them, and how tests run them: that line, then flags that
make it small. Paths stand as letters: D data set, O output, A autoencoder, P predictor, F flow or student,
T texts."""

import importlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import errors

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = {
    "data_preparation": "data_preparation.py --data_dir D",
    "autoencoder": "train_stage1_autoencoder.py --data_dir D --output_dir O --batch_size 32 --num_epochs 100 "
    "--learning_rate 1e-4 --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --num_workers 4",
    "predictor": "train_stage2_predictor.py --data_dir D --output_dir O --autoencoder_checkpoint A --batch_size 32 "
    "--num_epochs 80 --learning_rate 5e-4 --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --num_workers 4",
    "prior": "train_stage2_prior.py --data_dir D --output_dir O --autoencoder_checkpoint A --batch_size 32 "
    "--num_epochs 100 --learning_rate 1e-4 --hidden_dim 256 --max_seq_len 120 --num_workers 4",
    "flow": "train_stage2_latent_flow.py --data_dir D --output_dir O --autoencoder_checkpoint A --batch_size 32 "
    "--num_epochs 100 --learning_rate 1e-4 --latent_dim 256 --hidden_dim 512 --max_seq_len 120 --use_ssm_prior "
    "--use_sync_guidance --lambda_prior 0.1 --gamma_guidance 0.01 --num_inference_steps 50 --num_workers 4",
    "student": "train_stage3_distillation.py --data_dir D --output_dir O --autoencoder_checkpoint A "
    "--teacher_checkpoint F --num_teacher_steps 50 --num_workers 4",
    "inference": 'inference.py --text "Hello world" --predictor_checkpoint P --autoencoder_checkpoint A '
    "--output_path O --target_length 50 --data_dir D",
    "inference_flow": 'inference_latent_flow.py --text "Hello world" --flow_checkpoint F --autoencoder_checkpoint A '
    "--output_path O --target_length 50 --num_steps 4 --use_ssm_prior --use_sync_guidance --data_dir D",
    "inference_texts": "inference.py --text_file T --predictor_checkpoint P --autoencoder_checkpoint A --output_path O",
    "translator": "train_pose_to_text.py --data_dir D --output_dir O",
    "evaluate_predictor": "evaluate.py --data_dir D --predictor_checkpoint P --autoencoder_checkpoint A --split dev "
    "--batch_size 32 --save_predictions --output_dir O",
    "evaluate_clips": "evaluate.py --data_dir D --predictions_dir F --split dev --num_workers 0 --output_dir O",
    "evaluate_flow": "evaluate.py --data_dir D --flow_checkpoint F --num_steps 4 --autoencoder_checkpoint A "
    "--split test --output_dir O",
}

TRAINING = "--num_epochs 2 --batch_size 8 --learning_rate 1e-3 --num_workers 0 --warmup_steps 2 --max_seq_len 40"
AUTOENCODER = "--latent_dim 8 --hidden_dim 32 --num_heads 4 --encoder_layers 1 --coarse_layers 1 --medium_layers 1 "
AUTOENCODER += "--fine_layers 1 --temporal_stride 2"
NETWORK = "--latent_dim 8 --hidden_dim 32 --num_heads 4 --num_layers 2"
SCRATCH = "--text_encoder scratch --scratch_dim 32 --scratch_layers 1"
SMALL = {
    "autoencoder": f"{TRAINING} {AUTOENCODER}",
    "predictor": f"{TRAINING} {NETWORK}",
    "prior": f"{TRAINING} --hidden_dim 16 --num_layers 1",
    "flow": f"{TRAINING} {NETWORK} {SCRATCH} --prior_hidden_dim 16 --prior_layers 1 --num_inference_steps 6",
    "translator": f"{TRAINING} --hidden_dim 32 --num_heads 4 --encoder_layers 1 --decoder_layers 1 --max_tokens 16",
    "student": f"{TRAINING} --num_teacher_steps 6 --trajectories_per_clip 2",
}


def arguments(name: str, more: str = "", **paths: Path) -> list[str]:
    """The words of a command, its letters replaced by paths, made small, with `more` flags at its end."""
    words = [str(paths.get(word, word)) for word in shlex.split(COMMANDS[name])]
    return [*words, *SMALL.get(name, "").split(), *shlex.split(more)]


def run(name: str, more: str = "", **paths: Path) -> str:
    """Run a command from a shell's point of view; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments(name, more, **paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, f"{name}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def call(name: str, more: str = "", **paths: Path) -> None:
    """The same inside this process, quicker; a user's mistake is a SystemExit."""
    call_script(*arguments(name, more, **paths))


def call_script(script: str, *words: object) -> None:
    """A script by its name, and the words after it as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *map(str, words)])
        errors.run(importlib.import_module(script.removesuffix(".py")).main)


def refusal(capsys: pytest.CaptureFixture, call: Callable[[], object]) -> str:
    """What is said on stderr where a call must end with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        call()
    assert stop.value.code == 2
    return capsys.readouterr().err


def one_sentence(capsys: pytest.CaptureFixture, call: Callable[[], object]) -> str:
    """The same, which must be one line that begins with "error: "."""
    said = refusal(capsys, call).strip()
    assert said.startswith("error: ")
    assert "\n" not in said
    return said
