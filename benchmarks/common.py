"""What the benchmarks share: sides timed in turn, models of the default sizes with random weights, JSON."""

import argparse
import json
import platform
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from checkpoints import PREDICTOR, STUDENT
from generation import Generator
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.consistency_distillation import Student, StudentConfig
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.latent_predictor import LatentPredictor, PredictorConfig
from models.sampling_settings import SamplingSettings
from models.speed import Speed
from models.text_encoder import PretrainedTextEncoder
from models.text_to_latent import TextToLatent
from poses.body_frame import PLACE_DIM
from poses.layout import HANDS_DIM, POSE_DIM
from poses.statistics import FramedStatistics, Statistics
from runtime import arguments

README = ROOT / "benchmarks" / "README.md"
Side = TypeVar("Side")
WORK_DIR = ROOT / "runs" / "benchmarks"


def make_parser(description: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    """The flags that benchmarks of speed share; without `rounds` one times its sides in its own way."""
    parser = arguments.make_parser(description)
    parser.add_argument("--work_dir", type=Path, default=WORK_DIR, help="keeps what is slow to make")
    if rounds is not None:
        parser.add_argument(
            "--rounds", type=int, default=rounds, help=f"how often each side is timed (default {rounds})"
        )
    parser.add_argument("--write", action="store_true", help="put the figures into benchmarks/README.md")
    return parser


def time_in_turn(sides: Mapping[Side, Callable[[], object]], rounds: int) -> dict[Side, float]:
    """The least seconds of each side, after one call of warm-up: A B A B ..., so that other load meets all alike."""
    for side in sides.values():
        side()
    seconds = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def write_section(title: str, *blocks: str) -> None:
    """Put `blocks`, an empty line between them, under the heading `title` of benchmarks/README.md; older text goes."""
    content = README.read_text(encoding="utf-8") if README.is_file() else "# Benchmarks\n"
    before, heading, rest = content.partition(f"\n## {title}\n")
    _, following, after = rest.partition("\n## ") if heading else ("", "", "")
    text = "\n\n".join(block.strip() for block in blocks)
    README.write_text(f"{before.rstrip()}\n\n## {title}\n\n{text}\n{following}{after}", encoding="utf-8")


def paragraph(text: str) -> str:
    """The sentences of `text` as lines of at most 120 characters."""
    return textwrap.fill(" ".join(text.split()), width=120, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], names: int = 1) -> str:
    """A Markdown table. The first `names` columns hold names, to the left; the others hold numbers, to the right.

    A cell of None, which was not measured, becomes a dash.
    """
    marks = ["---"] * names + ["---:"] * (len(header) - names)
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, marks, *cells])


def machine() -> str:
    """What the figures were measured on: "2 threads, AMD EPYC family 25 model 17"."""
    count = torch.get_num_threads()
    return f"{count} thread{'s' if count > 1 else ''}, {processor()}"


def processor() -> str:
    """The processor's name, with its generation, since that decides what it multiplies by."""
    capabilities = torch.cpu.get_capabilities()
    name = capabilities.get("cpu_name", platform.processor() or "CPU")
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        facts = dict(re.findall(r"^(cpu family|model)\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE))
        name += "".join(f" {fact} {value}" for fact, value in facts.items()).replace("cpu family", "family")
    return name


def print_json(report: Mapping[str, object]) -> None:
    print(json.dumps({"torch_threads": torch.get_num_threads(), **report}, indent=2))


def make_text_encoder(folder: Path, vocab_size: int | None = None) -> Path:
    """A BERT-base-sized encoder with random weights and a word-piece vocabulary of letters, in a local folder.

    vocab_size: rows of its table of words, which cost memory and no time (default: those of the letters).
    """
    from transformers import BertConfig, BertModel, BertTokenizer

    tokenizer = folder / "tokenizer.json"
    if (folder / "config.json").is_file() and tokenizer.is_file() and '"##z"' in tokenizer.read_text(encoding="utf-8"):
        return folder  # an earlier version wrote one without words
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=vocab_size or len(words))).save_pretrained(folder)
    return folder


def unit_statistics() -> Statistics:
    """Statistics that move the poses to the middle of the picture and change nothing else."""
    plain, framed = (
        [f(n, np.float32) for n in widths for f in (np.zeros, np.ones)]
        for widths in ((POSE_DIM, HANDS_DIM), (POSE_DIM, HANDS_DIM, PLACE_DIM))
    )
    plain[0] += 0.5
    return Statistics(*plain, info={}, framed=FramedStatistics(*framed))


def frozen(module: nn.Module) -> nn.Module:
    """Ready to sample from, with no part silent, as the parts that start at zero are."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return module.eval().requires_grad_(False)


def make_generator(
    kind: str,
    encoder: PretrainedTextEncoder,
    autoencoder: PoseAutoencoder,
    num_steps: int | None = None,
    num_layers: int | None = None,
    **how: object,
) -> Generator:
    """A predictor, flow (prior, sync guidance, guidance 2) or student of the default sizes, with random weights.

    how: the fields of `Speed`.
    """
    flow = FlowConfig(prior_type="simple", use_sync_guidance=True)
    net: nn.Module
    if kind == PREDICTOR:
        net = LatentPredictor(PredictorConfig())
    elif kind == STUDENT:
        net = Student(StudentConfig.of_teacher(flow, num_layers or flow.num_layers))
    else:
        net = LatentFlowMatcher(flow)
    model = frozen(TextToLatent(net, encoder))
    return Generator(autoencoder, unit_statistics(), model, SamplingSettings(num_steps), Speed(**how))


def make_autoencoder() -> PoseAutoencoder:
    return frozen(PoseAutoencoder(AutoencoderConfig(), unit_statistics()))
