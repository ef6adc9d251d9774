"""Where bf16 pays on this machine: a training step and a clip of every model, in fp32 and in bf16, by width.

    python benchmarks/precision.py [--rounds 3] [--clips 8] [--write]
    python benchmarks/precision.py --device cuda --clips 32 --rounds 10    # a GPU: by the clock, with its memory

Random weights, one thread, CPU seconds: other work on the machine slows both sides and changes neither's share. A
training step is that of training/engine.py: forward, backward, clipping, AdamW and the moving average, on clips of 120
frames and texts of 20 words. "Two threads" is wall time, and means something only beside what else runs.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from common import frozen, make_parser, paragraph, print_json, processor, table, unit_statistics, write_section
from torch import Tensor, nn

from checkpoints import AUTOENCODER, FLOW, PREDICTOR, STUDENT
from generation import Generator
from generation_arguments import add_device_argument, resolve_device
from models.autoencoder import AutoencoderConfig, PoseAutoencoder
from models.autoencoder_loss import AutoencoderLoss
from models.consistency_distillation import STEP_COUNTS, Student, StudentConfig
from models.latent_flow_matcher import FlowConfig, LatentFlowMatcher
from models.latent_predictor import LatentPredictor, PredictorConfig, latent_regression_loss
from models.sampling_settings import SamplingSettings
from models.speed import Speed
from models.text_encoder import ScratchTextConfig, ScratchTextEncoder, train_tokenizer
from models.text_to_latent import TextToLatent
from models.whole_batch import Draws, WholeBatch, part_of
from poses.layout import POSE_DIM
from runtime import cpu
from runtime.timing import Clock
from training import optimisation
from training.settings import TrainSettings

FRAMES, WORDS, TEXT = 120, 20, "h e l l o w o r l d"
PRECISIONS = ("fp32", "bf16")
# Of each width: heads, layers, temporal stride, latent numbers, layers of the autoencoder. 128: the small recipe of
# docs/training.md; 512: the default sizes.
SIZES = {128: (4, 4, 4, 32, (2, 1, 1, 2)), 256: (8, 4, 4, 32, (2, 1, 1, 2)), 512: (8, 6, 1, 256, (6, 4, 4, 6))}


def autoencoder_of(width: int) -> PoseAutoencoder:
    heads, _, stride, latent, layers = SIZES[width]
    return PoseAutoencoder(AutoencoderConfig(latent, width, heads, *layers, temporal_stride=stride), unit_statistics())


def network_of(kind: str, width: int) -> nn.Module:
    heads, layers, stride, latent, _ = SIZES[width]
    sizes = {"latent_dim": latent, "hidden_dim": width, "num_heads": heads, "num_layers": layers, "cond_dim": 64}
    if kind == PREDICTOR:
        return LatentPredictor(PredictorConfig(**sizes))
    flow = FlowConfig(**sizes, temporal_stride=stride, prior_type="simple", prior_hidden_dim=width // 2)
    return LatentFlowMatcher(flow) if kind == FLOW else Student(StudentConfig.of_teacher(flow, layers))


def training_step(kind: str, width: int, clips: int, device: torch.device) -> Callable[[bool], None]:
    """A function that takes one step, in bf16 or not."""
    torch.manual_seed(0)
    model = (autoencoder_of(width) if kind == AUTOENCODER else network_of(kind, width)).train().to(device)
    _, _, stride, latent, _ = SIZES[width]
    with device:  # what only holds numbers
        pose, seen = torch.randn(clips, FRAMES, POSE_DIM), torch.ones(clips, FRAMES, POSE_DIM, dtype=torch.bool)
        z, states = torch.randn(clips, FRAMES // stride, latent), torch.randn(clips, max(STEP_COUNTS) + 1, 1, 1)
        cond, cond_mask = torch.randn(clips, WORDS, 64), torch.ones(clips, WORDS, dtype=torch.bool)
        mask, frames = torch.ones(z.shape[:2], dtype=torch.bool), torch.ones(pose.shape[:2], dtype=torch.bool)
        present = torch.ones(clips, FRAMES, 3, dtype=torch.bool)
    draws = Draws.of(list(map(str, range(clips))), device=z.device)

    def loss() -> Tensor:
        if kind == AUTOENCODER:
            return AutoencoderLoss()(model, pose, seen, present, frames, draws)["loss"]
        if kind == PREDICTOR:
            return latent_regression_loss(model(cond, cond_mask, mask), z, mask)
        return model.loss(z if kind == FLOW else states * z[:, None], mask, cond, cond_mask, draws)["loss"]

    run = optimisation.start_run(model, TrainSettings(output_dir="none"), 1000, 10)

    def step(in_bf16: bool) -> None:
        whole = WholeBatch(draws, total=lambda part: part, share=1.0)
        with part_of(whole), torch.autocast(z.device.type, torch.bfloat16, enabled=in_bf16):
            value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        optimisation.update_ema(run.ema, model, 0.999, 100)

    return step


def signing(kind: str, width: int, clips: int, device: torch.device) -> Callable[[bool], object]:
    """A function that signs so many clips of 50 frames, or of 120 where it is a batch; the student takes 4 steps."""
    made = {}
    for precision in PRECISIONS:  # a generator packs the weights of what it is given
        encoder = ScratchTextEncoder(ScratchTextConfig(train_tokenizer([TEXT], 100), 64, 1))
        model, packed = frozen(TextToLatent(network_of(kind, width), encoder)).to(device), device.type == "cpu"
        autoencoder = frozen(autoencoder_of(width)).to(device)
        settings, speed = SamplingSettings(4 if kind == STUDENT else None), Speed(precision, packed=packed)
        made[precision] = Generator(autoencoder, unit_statistics(), model, settings, speed)
    frames = [FRAMES if clips > 1 else 50] * clips
    return lambda in_bf16: made[PRECISIONS[in_bf16]].generate([TEXT] * clips, list(range(clips)), frames)


def in_turn(side: Callable[[bool], object], rounds: int, device: torch.device) -> tuple[list[float], list[float]]:
    """The least seconds of both precisions, after one turn of warm-up: of the CPU, or by the clock and a GPU's queue.

    Also the most memory in GB that a GPU held in each, with all that `side` keeps.
    """
    seconds: tuple[list[float], ...] = ([], [])
    memory, on_gpu = [0.0, 0.0], device.type == "cuda"
    for turn in range(rounds + 1):
        for in_bf16 in (False, True):
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(device)
            clock, started = Clock(device), time.process_time()
            side(in_bf16)
            lap = clock.lap() if on_gpu else time.process_time() - started
            if turn:
                seconds[in_bf16].append(lap)
            if on_gpu:
                memory[in_bf16] = torch.cuda.max_memory_allocated(device) / 2**30
    return [min(of_one) for of_one in seconds], memory


def threads_in_turn(step: Callable[[bool], None], rounds: int) -> list[float]:
    """The median wall seconds of a step in fp32 on one thread and on two."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds + 1):
        for count, of_one in seconds.items():
            torch.set_num_threads(count)
            started = time.perf_counter()
            step(False)
            of_one.append(time.perf_counter() - started)
    torch.set_num_threads(1)
    return [round(statistics.median(of_one[1:]), 3) for of_one in seconds.values()]


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--clips", type=int, default=8, help="clips of a training step and of a batch (default 8)")
    parser.add_argument("--widths", type=int, nargs="+", default=list(SIZES), choices=SIZES, help="hidden_dim")
    add_device_argument(parser)
    parser.add_argument("--threads", action="store_true", help="also time a small step on one and on two threads")
    args = parser.parse_args()
    cpu.tune()
    torch.set_num_threads(1)
    rows, device = [], resolve_device(args.device)
    for width in args.widths:
        kinds = (AUTOENCODER, PREDICTOR, FLOW, STUDENT)
        sides = {f"training step, {kind}": (training_step, kind, width, args.clips) for kind in kinds}
        sides |= {f"one clip, {kind}": (signing, kind, width, 1) for kind in (PREDICTOR, STUDENT)}
        sides |= {f"a batch, {kind}": (signing, kind, width, args.clips) for kind in (PREDICTOR, STUDENT)}
        for name, (make, *sizes) in sides.items():
            (fp32, bf16), memory = in_turn(make(*sizes, device), args.rounds, device)
            rows.append([name, width, f"{fp32:.4f}", f"{bf16:.4f}", round(fp32 / bf16, 2)])
            if device.type == "cuda":  # of signing both models are in memory, so it is of neither
                rows[-1] += [round(size, 2) if make is training_step else None for size in memory]
            print(*rows[-1], file=sys.stderr)
    report: dict[str, object] = {"clips": args.clips, "rows": rows}
    if args.threads:
        report["threads_1_and_2"] = threads_in_turn(training_step(FLOW, 128, args.clips), args.rounds)
    print_json(report)
    if args.write:
        about = (
            f"`benchmarks/precision.py --write` measured this section: random weights, {args.clips} clips of {FRAMES} "
        )
        header = ["what", "width", "fp32, s", "bf16, s", "fp32 / bf16"]
        if device.type == "cuda":
            how = f"on an {torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}; GB: the most of its memory"
            header += ["fp32, GB", "bf16, GB"]
        else:
            how = f"CPU seconds of one thread, {processor()}"
        about += f"frames (one clip: 50), {how}. Width 512: the default sizes."
        title = "Precision on a GPU" if device.type == "cuda" else "Precision"
        write_section(title, paragraph(about), table(header, rows))


if __name__ == "__main__":
    main()
