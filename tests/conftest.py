"""What several tests share: a small data set of real letters, import_data.py's command, a small BERT, and every
stage trained by its command."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import commands
import numpy as np
import pytest

import demo_data
from importers import spelling
from poses import layout
from poses.statistics import FramedStatistics, Statistics

WORDS = {"train": ["seal", "last", "tale", "lose", "toast", "sole"], "dev": ["sea", "lot"], "test": ["late", "so"]}


def write_letters(folder: Path) -> Path:
    """Six real letters and six words of them to train on, two new words each for dev and test."""
    letters = spelling.read_alphabet(spelling.find_lexicon(), "ase")
    demo_data.write_data(folder, "ase", {letter: letters[letter] for letter in "aelost"}, WORDS, seed=0)
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, prepared: 12 clips in train, 2 in dev, 2 in test. Read it, never write to it."""
    folder = write_letters(tmp_path_factory.mktemp("letters") / "data")
    commands.call("data_preparation", D=folder)
    return folder


@pytest.fixture(scope="session")
def letter() -> Path:
    """A real clip of a letter: MediaPipe's full holistic, in a .pose file."""
    return min((spelling.find_lexicon() / "ase").glob("*.pose"))


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Path]:
    """Runs import_data.py on tmp_path/in; returns the folder that it wrote."""

    def run(flags: str = "", output: str = "out", split: str = "--split train") -> Path:
        words = f"--input {tmp_path / 'in'} --output_dir {tmp_path / output} {split} {flags}"
        commands.call_script("import_data.py", *words.split())
        return tmp_path / output

    (tmp_path / "in").mkdir()
    return run


@pytest.fixture
def refused(imported: Callable[..., Path], capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """The same where it must be refused; returns what was said."""
    return lambda flags="": commands.one_sentence(capsys, lambda: imported(flags))


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of 32 numbers and a vocabulary of letters."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(ord("a"), ord("z") + 1)), "hello", "world"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Trained:
    """The best_model.pt of every stage; the predictor reads text with `bert`, the flow with an encoder of its own."""

    autoencoder: Path
    predictor: Path
    flow: Path
    student: Path

    @property
    def paths(self) -> dict[str, Path]:
        """As the letters of `commands`; F is the flow."""
        return {"A": self.autoencoder, "P": self.predictor, "F": self.flow}


@pytest.fixture(scope="session")
def trained(data_dir: Path, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Every stage after two epochs, each by its own command."""
    runs = tmp_path_factory.mktemp("runs")
    best = {name: runs / name / "best_model.pt" for name in ("autoencoder", "predictor", "flow", "student")}
    paths = {"D": data_dir, "A": best["autoencoder"], "F": best["flow"]}
    commands.call("autoencoder", O=runs / "autoencoder", **paths)
    commands.call("predictor", f"--text_encoder {bert}", O=runs / "predictor", **paths)
    commands.call("flow", O=runs / "flow", **paths)
    commands.call("student", O=runs / "student", **paths)
    return Trained(**best)


@pytest.fixture(scope="session")
def translator(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best_model.pt of the back-translator, after two epochs."""
    folder = tmp_path_factory.mktemp("pose_to_text")
    commands.call("translator", D=data_dir, O=folder)
    return folder / "best_model.pt"


@pytest.fixture(scope="session")
def evaluated(data_dir: Path, trained: Trained, translator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the predictor's evaluation on dev, with every flag. Read it, never write to it."""
    folder = tmp_path_factory.mktemp("evaluation")
    more = f"--back_translation_checkpoint {translator} --num_beams 2 --shuffle_texts --num_workers 0"
    commands.call("evaluate_predictor", more, D=data_dir, O=folder, **trained.paths)
    return folder


@pytest.fixture
def untold(data_dir: Path, tmp_path: Path) -> dict[str, Path]:
    """The data set without the texts of dev, and as predictions its clips (F), which every text would fit."""
    folder, predictions = tmp_path / "data", tmp_path / "clips"
    shutil.copytree(data_dir, folder)
    (folder / "dev.txt").unlink()
    predictions.mkdir()
    for path in (folder / "dev" / "poses").glob("*.npz"):
        noise = np.random.default_rng(0).normal(size=(20, layout.POSE_DIM)).astype(np.float32)
        np.save(predictions / f"{path.stem}.npy", noise)
    return {"D": folder, "F": predictions, "O": tmp_path / "out"}


@pytest.fixture(scope="session")
def statistics() -> Statistics:
    """Statistics of no data: every number has its own mean and spread, as poses do, in image units."""
    rng = np.random.default_rng(0)

    def numbers(low: float, high: float, count: int) -> np.ndarray:
        return rng.uniform(low, high, count).astype(np.float32)

    pose, hands = layout.POSE_DIM, layout.HANDS_DIM
    plain = numbers(0.3, 0.7, pose), numbers(0.05, 0.2, pose), numbers(-0.05, 0.05, hands), numbers(0.01, 0.02, hands)
    framed = FramedStatistics(  # in shoulder widths
        *(numbers(-1.0, 1.0, pose), numbers(0.2, 0.8, pose), numbers(-0.2, 0.2, hands), numbers(0.04, 0.08, hands)),
        place_mean=np.array([0.5, 0.4, -1.3], np.float32),
        place_std=np.array([0.05, 0.04, 0.1], np.float32),
    )
    return Statistics(*plain, info={}, framed=framed)
