"""Train a small checkpoint of every stage with a release's own code, and note what that code says of it.

    git clone . /tmp/release && git -C /tmp/release checkout COMMIT
    .venv/bin/python tests/releases/record.py --release /tmp/release --output_dir tests/releases/COMMIT

Trains on the tests' letters by the release's commands. Writes a checkpoint each; dev.npz, the dev clips as that release
read them; and recorded.json: dev losses as it logged them, the error of the flow's field at given points, and clips
that it signed from given noise. tests/test_releases.py asks today's code for the same numbers.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST = 40
TRAINING = f"--batch_size 8 --learning_rate 2e-3 --num_workers 0 --warmup_steps 10 --max_seq_len {LONGEST}"
TRAINING += " --ema_decay 0.9 --long_clips resample"
TEXT, FRAMES, TIMES = "s e a t", 21, (0.25, 0.75)
RECORD = """
import json, sys, numpy, torch
from pathlib import Path
from dataset import PoseDataset
from models.flow_matching import path_sample, sample_noise
from training.latents import LatentSource, latent_pack
try:
    from checkpoints import FLOW, load_autoencoder, load_text_to_latent
    from poses.splits import load_split
except ImportError:  # where they were before
    from dataset import load_split
    from training.checkpoint import FLOW, load_autoencoder, load_text_to_latent

runs, data, output, times = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
frames, text, longest = int(sys.argv[5]), sys.argv[6], int(sys.argv[7])
autoencoder, statistics, content = load_autoencoder(runs / "autoencoder" / "best_model.pt")
model, _ = load_text_to_latent(runs / "flow" / "best_model.pt", (FLOW,), content)
latents = autoencoder.num_latents(frames)
z_0 = sample_noise([0], [latents], model.net.config.latent_dim)
z_1, mask = z_0.flip(1), torch.ones(1, latents, dtype=torch.bool)
field = model.net.guided_field(*model.embed_text([text]), mask)
errors = []
for time in times:
    point = path_sample(z_0, z_1, torch.tensor([time]))
    with torch.no_grad():
        errors.append(((field(point.z_t, torch.tensor([time])) - point.velocity) ** 2).mean().item())

source = LatentSource(autoencoder, statistics, content["fingerprint"], data, data / "cache", longest, "resample")
pack, clips = latent_pack(source, "dev", torch.device("cpu")), PoseDataset(load_split(data, "dev"), statistics, longest)
arrays = {}
for index in range(len(clips)):
    item = clips[(index, 0)]
    arrays[f"pose{index}"] = item["pose"]
    arrays[f"seen{index}"] = (item["seen"] if "seen" in item else item["weight"]) > 0
    arrays[f"energy{index}"] = pack.field("energy", index)
    arrays[f"frames{index}"] = pack.field("frames", index) if "frames" in pack.fields else [[len(item["pose"])]]
numpy.savez_compressed(output, **arrays)
print(json.dumps({"dev_texts": list(pack.texts), "noise": z_0[0].tolist(), "field_errors": errors}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True, help="a clone of the project at the release's commit")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder under tests/releases/")
    parser.add_argument(
        "--parts", default="--use_ssm_prior --use_sync_guidance", help="flags of the flow (default: prior and guidance)"
    )
    args = parser.parse_args()
    release = args.release.resolve()
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = f"{release}:{release / 'tests'}"

    def run(*words: object) -> str:
        command = [sys.executable, *map(str, words)]
        return subprocess.run(
            command, cwd=release, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    args.output_dir.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        data, runs = Path(temporary) / "data", Path(temporary)
        run("-c", "import conftest, pathlib, sys; conftest.write_letters(pathlib.Path(sys.argv[1]))", data)
        run("data_preparation.py", "--data_dir", data)
        best = {name: runs / name / "best_model.pt" for name in ("autoencoder", "predictor", "flow", "student")}
        common = ["--data_dir", data, *TRAINING.split()]
        latent = [*common, "--autoencoder_checkpoint", best["autoencoder"]]
        net = "--hidden_dim 8 --num_heads 2 --num_layers 1 --text_encoder scratch --scratch_dim 8 --scratch_layers 1"
        small = "--latent_dim 8 --hidden_dim 8 --num_heads 2 --encoder_layers 1 --coarse_layers 1 --medium_layers 1"
        small += " --fine_layers 1 --temporal_stride 2 --num_epochs 40"
        parts = f"{args.parts} --prior_hidden_dim 8 --prior_layers 1 --num_inference_steps 6"
        teacher = ["--teacher_checkpoint", best["flow"], "--num_teacher_steps", 6, "--trajectories_per_clip", 2]
        output = {name: ["--output_dir", runs / name] for name in best}
        run("train_stage1_autoencoder.py", *common, *output["autoencoder"], *small.split())
        run("train_stage2_predictor.py", *latent, *output["predictor"], *net.split(), "--num_epochs", 40)
        run("train_stage2_latent_flow.py", *latent, *output["flow"], *net.split(), *parts.split(), "--num_epochs", 40)
        run("train_stage3_distillation.py", *latent, *output["student"], *teacher, "--num_epochs", 10)

        recorded = {"text": TEXT, "frames": FRAMES, "times": TIMES, "dev": {}, "clips": {}}
        dev = (args.output_dir / "dev.npz").resolve()
        recorded |= json.loads(run("-c", RECORD, runs, data, dev, json.dumps(TIMES), FRAMES, TEXT, LONGEST))
        for name, path in best.items():
            lines = [json.loads(line) for line in path.with_name("log.jsonl").read_text().splitlines()]
            kept = next(line["epoch"] for line in lines if "test" in line)
            recorded["dev"][name] = next(line["dev"] for line in lines if line["epoch"] == kept and "dev" in line)
            shutil.copy(path, args.output_dir / f"{name}.pt")
            if name != "autoencoder":
                direction_1 = name == "predictor"
                script = "inference.py" if direction_1 else "inference_latent_flow.py"
                flags = ["--predictor_checkpoint" if direction_1 else "--flow_checkpoint", path, "--text", TEXT]
                flags += ["--target_length", FRAMES, "--output_path", runs / "clip.npy"]
                run(script, *flags, "--autoencoder_checkpoint", best["autoencoder"])
                clip = "import numpy, sys; print(numpy.load(sys.argv[1])[[0, 10, 20], ::20].round(7).tolist())"
                recorded["clips"][name] = json.loads(run("-c", clip, runs / "clip.npy"))
    (args.output_dir / "recorded.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
