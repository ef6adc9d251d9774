"""What is longer than training allows: squeezed clips get their own length back, and a text is never cut in silence."""

import functools
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from made_up import write_data
from test_generation import make_generator

from checkpoints import FLOW, PREDICTOR, STUDENT, load_autoencoder, load_checkpoint
from dataset import collate
from evaluation.clips import read_references
from evaluation.evaluator import Evaluator
from models.autoencoder import PoseSpace
from models.text_encoder import ScratchTextConfig, ScratchTextEncoder, train_tokenizer
from poses import layout
from poses.interpolation import resample
from poses.presence import shown_numbers
from poses.splits import load_split
from poses.statistics import Statistics, compute_statistics
from runtime.errors import UserError
from text_encoders import open_text_encoder
from training.latents import LatentSource, latent_dataset


@pytest.mark.parametrize("kind", [PREDICTOR, FLOW, STUDENT])
def test_a_clip_beyond_the_longest_of_training_is_signed_at_that_and_stretched(kind: str, statistics: Statistics):
    generator, limited = (make_generator(kind, "none", 1, statistics, presence=0.5) for _ in range(2))
    object.__setattr__(limited.model.net.config, "max_frames", 12)
    at_limit, shorter = (clip.pose for clip in generator.generate(["sea", "sea"], [1, 1], [12, 7]))
    stretched, same = (clip.pose for clip in limited.generate(["sea", "sea"], [1, 1], [24, 7]))
    shown = shown_numbers(stretched)
    assert shown.mean() > 0.3
    assert np.abs(stretched - resample(at_limit, 24))[shown].max() < 1e-5
    assert np.abs(same - shorter).max() < 1e-5


def test_a_reconstruction_beyond_the_longest_of_training_is_squeezed_and_stretched(data_dir: Path, tmp_path: Path):
    """The autoencoder never saw longer clips; a generator over its latents signs as many frames and stretches them."""
    commands.call("autoencoder", "--max_seq_len 20", D=data_dir, O=tmp_path)
    autoencoder, statistics, content = load_autoencoder(tmp_path / "best_model.pt", torch.device("cpu"))
    assert content["config"]["max_frames"] == 20
    train, references = load_split(data_dir, "train"), read_references(load_split(data_dir, "dev"))
    evaluator = Evaluator(references, train, autoencoder, statistics)
    for reference, z, made in zip(references, evaluator.reference_latents, evaluator.reconstruct(), strict=True):
        frames = min(20, len(reference.pose))
        assert len(z) == autoencoder.num_latents(frames)
        assert len(made.pose) == len(reference.pose) > 20
        assert np.abs(np.diff(made.pose[:, layout.BODY], axis=0)).max() > 0


def test_the_length_that_is_learnt_is_the_clips_own(tmp_path: Path):
    data = write_data(tmp_path / "data", {"train": [5, 30], "dev": [4], "test": [4]})
    train = load_split(data, "train")
    statistics = compute_statistics(((item["pose"], item["seen"].astype(bool)) for item in train.stream()), {})
    encoder = ScratchTextEncoder(ScratchTextConfig(train_tokenizer(["text 0", "text 1"]), 16, 1, 2))
    source = LatentSource(PoseSpace(), statistics, "none", data, data / "cache", 12, "resample")
    clips = latent_dataset(source, "train", encoder, torch.device("cpu"))
    batch = collate([clips[(index, 0)] for index in range(2)])
    assert batch["z_mask"].sum(1).tolist() == [5, 12]
    assert batch["frames"].flatten().tolist() == [5, 30]


def test_squeezed_clips_are_counted_and_the_checkpoint_knows(trained, data_dir: Path, tmp_path: Path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "predictor"}
    commands.call("predictor", f"{commands.SCRATCH} --max_seq_len 20 --num_epochs 1", **paths)
    assert "train clips are longer than --max_seq_len 20: training resamples them to that" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "predictor" / "best_model.pt", PREDICTOR)["config"]["max_frames"] == 20


def test_a_student_learns_from_the_lengths_that_its_teacher_knows(trained, data_dir: Path, tmp_path: Path, capsys):
    longest = int(load_split(data_dir, "train").lengths("pose").max())
    paths = {"D": data_dir, "A": trained.autoencoder}
    commands.call("flow", f"--max_seq_len {longest} --num_epochs 1", O=tmp_path / "free", **paths)
    free, squeezed = tmp_path / "free" / "best_model.pt", trained.flow  # to 40 frames
    cases = [
        (free, "--max_seq_len 40", f"learnt long clips at their own lengths, or cropped; pass --max_seq_len {longest}"),
        (squeezed, "--max_seq_len 50", "learnt long clips squeezed to 40 frames; pass --max_seq_len 40"),
        (squeezed, "--max_seq_len 50 --long_clips crop", "learnt long clips squeezed to 40 frames"),
        (squeezed, "--max_seq_len 20 --long_clips crop", "learnt long clips squeezed to 40 frames"),
    ]
    for teacher, flags, reason in cases:
        call = functools.partial(commands.call, "student", flags, F=teacher, O=tmp_path / "student", **paths)
        assert reason in commands.one_sentence(capsys, call)


def test_a_text_beyond_the_encoders_tokens_is_refused_not_cut(statistics: Statistics, bert: Path):
    generator = make_generator(FLOW, "none", 1, statistics)
    long = "a b c d e f g h " * 40
    with pytest.raises(UserError, match=r"the text 'a b c .*…' has \d+ tokens, of which the text encoder reads 256"):
        generator.generate(["sea", long], [0, 1], [9, 9])
    encoder = open_text_encoder(str(bert))
    assert encoder.count_tokens(["hello world", long]) == [4, 322]
    assert encoder.encode([long])[0].shape[1] == encoder.max_tokens == 256
