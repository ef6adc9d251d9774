"""Full size on this machine: every stage's training step, checkpoint, resume and inference, and one clip's latency.

    python benchmarks/full_size.py [--work_dir runs/full_size]
    python benchmarks/full_size.py --smoke                      # small networks: whether everything runs

The default sizes (latent 256, hidden 512, 6 layers, 4+4+6) with a text encoder of BERT-base's size (random weights: its
cost is the same), on 32 real fingerspelt train clips, one batch an epoch. Runs the scripts as a user does; prints JSON:
seconds and peak memory of each run, how much quicker a --text_file of 256 lines is than the script once a line, and the
seconds of one clip of 50 frames at batch 1: text, sampling, decoding.
"""

import json
import shutil
import statistics
from pathlib import Path

import torch
from common import ROOT, make_text_encoder
from generated import run_script

from generation import TIMED_PARTS, load_generator
from models.sampling_settings import SamplingSettings
from runtime.arguments import make_parser

VOCAB_SIZE = 119547  # of multilingual BERT: its table counts in the peak memory
TEXT = "h e l l o w o r l d"
FRAMES = 50
FILE_LINES = 256
SMOKE = "--hidden_dim 64 --num_heads 2"
SMOKE_AUTOENCODER = f"{SMOKE} --latent_dim 16 --encoder_layers 1 --coarse_layers 1 --medium_layers 1 --fine_layers 1"


def make_data(folder: Path) -> None:
    """32 train clips, 2 dev and 2 test clips of real fingerspelling."""
    made = folder.with_name("fingerspelling")
    run_script("demo_data.py", "--output_dir", made, "--num_words", 60)
    for split, count in (("train", 32), ("dev", 2), ("test", 2)):
        lines = (made / f"{split}.txt").read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if " " in line.partition("|")[2]][:count]  # words, not single letters
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for line in lines:
            for kind, ending in (("poses", "npz"), ("nmms", "pkl")):
                name = f"{line.partition('|')[0]}.{ending}"
                (folder / split / kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(made / split / kind / name, folder / split / kind / name)
    run_script("data_preparation.py", "--data_dir", folder)


def train_twice(script: str, output: Path, *flags: object) -> dict[str, dict]:
    """One epoch of one step from the start, then one more from last.pt."""
    first = run_script(script, *flags, "--output_dir", output, "--num_epochs", 1, "--overwrite")
    again = run_script(script, *flags, "--output_dir", output, "--num_epochs", 2, "--resume_from", output / "last.pt")
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [32 / line["clips_per_second"] for line in lines if "train" in line]
    size = round((output / "last.pt").stat().st_size / 2**20, 1)
    return {"first": first, "resumed": again, "seconds_a_step": [round(s, 2) for s in steps], "last_pt_mb": size}


def train_stages(work: Path, smoke: bool) -> dict[str, dict]:
    """Every stage, trained twice in a folder of its own in `work`; smoke: small networks."""
    data, encoder = work / "data", work / "text_encoder"
    if not (data / "normalization_stats.npz").is_file():
        make_data(data)
    make_text_encoder(encoder, None if smoke else VOCAB_SIZE)
    small_autoencoder, small = (SMOKE_AUTOENCODER.split(), f"{SMOKE} --num_layers 1".split()) if smoke else ([], [])
    common = ("--data_dir", data, "--num_workers", 0)
    stage2 = (*common, "--autoencoder_checkpoint", work / "autoencoder" / "best_model.pt")
    text = (*small, "--text_encoder", encoder)
    guided = ("--use_ssm_prior", "--use_sync_guidance")
    taught = ("--teacher_checkpoint", work / "flow" / "best_model.pt")
    few = ("--trajectories_per_clip", 1, "--num_teacher_steps", 4)
    flags = {
        "autoencoder": ("train_stage1_autoencoder.py", *common, *small_autoencoder),
        "predictor": ("train_stage2_predictor.py", *stage2, *text),
        "flow": ("train_stage2_latent_flow.py", *stage2, *text, *guided),
        "student": ("train_stage3_distillation.py", *stage2, *taught, *few),
    }
    return {name: train_twice(script, work / name, *rest) for name, (script, *rest) in flags.items()}


def latency(checkpoint: Path, autoencoder: Path, num_steps: int | None, repeats: int) -> dict[str, float]:
    """Median seconds of one clip of FRAMES frames at batch 1, after one clip of warm-up."""
    sampling = SamplingSettings(num_steps=num_steps)
    generator = load_generator(checkpoint, autoencoder, torch.device("cpu"), sampling)
    clips = [generator.generate([TEXT], [seed], [FRAMES])[0].seconds for seed in range(repeats + 1)][1:]
    parts = {part: round(statistics.median(clip[part] for clip in clips), 4) for part in TIMED_PARTS}
    return {**parts, "total": round(statistics.median(sum(clip.values()) for clip in clips), 4)}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--work_dir",
        type=Path,
        default=ROOT / "runs" / "full_size",
        help="keeps data and runs (default runs/full_size)",
    )
    parser.add_argument("--repeats", type=int, default=7, help="clips whose median latency is reported")
    parser.add_argument("--smoke", action="store_true", help="small networks, whose figures say nothing of full size")
    args = parser.parse_args()
    work = args.work_dir / "smoke" if args.smoke else args.work_dir
    autoencoder, flow = work / "autoencoder" / "best_model.pt", work / "flow" / "best_model.pt"
    report = {"torch_threads": torch.get_num_threads(), **train_stages(work, args.smoke)}
    inference = (
        "inference_latent_flow.py",
        "--flow_checkpoint",
        work / "student" / "best_model.pt",
        "--autoencoder_checkpoint",
        autoencoder,
        "--output_path",
        work / "clips" / "clip.npy",
        "--target_length",
        FRAMES,
    )
    texts = work / "texts.txt"
    texts.write_text(f"{TEXT}\n" * FILE_LINES, encoding="utf-8")
    one, many = run_script(*inference, "--text", TEXT), run_script(*inference, "--text_file", texts)
    ratio = round(one["seconds"] * FILE_LINES / many["seconds"], 1)
    report["inference"] = {"text": one, f"text_file_of_{FILE_LINES}": many, "a_script_each_over_one_file": ratio}
    report["latency"] = {
        "direction_1": latency(work / "predictor" / "best_model.pt", autoencoder, None, args.repeats),
        **{f"student_{n}": latency(work / "student" / "best_model.pt", autoencoder, n, args.repeats) for n in (1, 4)},
        "flow_50": latency(flow, autoencoder, 50, 3),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
