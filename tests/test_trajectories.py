"""What a student learns from: trajectories of its teacher, for train's texts and for texts joined of them."""

import dataclasses
import json
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from test_generation import make_generator

from checkpoints import FLOW, load_autoencoder, load_checkpoint, load_text_to_latent
from models.autoencoder import PoseSpace
from models.flow_matching import sample_noise, sample_ode, time_grid
from models.guidance import field_jumps
from models.layers import lengths_to_mask
from models.sampling_settings import SamplingSettings
from models.text_to_latent import TextToLatent
from poses.pack import Pack
from poses.statistics import Statistics
from training.latents import LatentSource, latent_dataset
from training.trajectories import Start, TrajectorySampler, join_starts, joined, starts_of_clips, trajectory_pack

NUM_STEPS, NUM_SEGMENTS = 8, 4
STARTS = [
    Start("a", "s e a", num_latents=5),
    Start("b", "l o s t", num_latents=9),
    Start("a", "s e a", num_latents=5),
    Start("joined text 0", "s o", num_latents=3),
]


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "five six"), (0.4, "one two six"), (0.6, "one two six"), (0.99, "one two three four")]
)
def test_a_joined_text_begins_as_one_and_ends_as_the_other(share: float, text: str):
    assert joined("one two three four", "five six", share) == text


def test_joined_texts_are_never_empty_and_of_one_word_each_are_one_of_them():
    assert {joined("sea", "lot", share) for share in np.linspace(0, 0.999, 20)} == {"sea", "lot"}
    assert all(joined("one two three", "four", share) for share in np.linspace(0, 0.999, 50))


@pytest.fixture
def source(trained, data_dir: Path, tmp_path: Path) -> LatentSource:
    autoencoder, statistics, content = load_autoencoder(trained.autoencoder)
    return LatentSource(autoencoder, statistics, content["fingerprint"], data_dir, tmp_path, 40, "resample")


@pytest.fixture
def teacher(trained, source: LatentSource) -> TextToLatent:
    return load_text_to_latent(trained.flow, (FLOW,), source.fingerprint, torch.device("cpu"))[0]


def sampler_of(teacher: TextToLatent) -> TrajectorySampler:
    return TrajectorySampler(teacher, "t", NUM_STEPS, NUM_SEGMENTS, seed=3)


def test_joined_starts_are_of_train_words(source, teacher):
    clips = latent_dataset(source, "train", teacher.text_encoder, torch.device("cpu"), labelled=True)
    starts = starts_of_clips(clips)
    assert [start.num_latents for start in starts] == [len(clips[(index, 0)]["z"]) for index in range(len(clips))]
    made = join_starts(starts, 3, seed=0)
    assert len(made) == len({start.id for start in made}) == 3 * len(starts)
    assert made == join_starts(starts, 3, seed=0) != join_starts(starts, 3, seed=1)
    known = {start.text for start in starts}
    assert sum(start.text not in known for start in made) > len(starts)
    assert {word for start in made for word in start.text.split()} <= {word for text in known for word in text.split()}


def test_a_start_without_a_length_gets_the_teachers(source, teacher):
    texts = ["s e a l", "t o a s t s e a l t o a s t s e a l", "a"]
    pack = trajectory_pack(sampler_of(teacher), [Start(text, text) for text in texts], None, source)
    found = {text: len(pack.field("states", index)) for index, text in enumerate(pack.texts)}
    for text in texts:
        frames = teacher.predict_frames(*teacher.embed_text([text])).clamp(max=40)
        assert found[text] == int(source.autoencoder.num_latents(frames))
    assert len(set(found.values())) > 1


def in_folder(folder: Path, statistics: Statistics) -> LatentSource:
    return LatentSource(PoseSpace(), statistics, "", folder, folder, 40, "resample")


def states(pack: Pack) -> dict[str, np.ndarray]:
    return {pack.ids[index]: np.array(pack.field("states", index)) for index in range(len(pack))}


def test_a_trajectory_begins_with_noise_of_its_own_and_ends_where_the_teacher_signs(statistics: Statistics, tmp_path):
    teacher = make_generator(FLOW, "simple", 1, statistics).model
    pack = trajectory_pack(sampler_of(teacher), STARTS, None, in_folder(tmp_path, statistics))
    assert [name.partition("#")[0] for name in pack.ids] == ["joined text 0", "a", "a", "b"]  # the shortest first
    assert pack.texts == ["s o", "s e a", "s e a", "l o s t"]
    assert [len(pack.field("states", index)) for index in range(4)] == [3, 5, 5, 9]
    found = [
        pack.field("states", index).reshape(-1, NUM_SEGMENTS + 1, teacher.net.config.latent_dim) for index in range(4)
    ]
    assert np.abs(found[1][:, 0] - found[2][:, 0]).max() > 0.1
    settings = teacher.net.resolve(SamplingSettings(guidance_scale=2.0, guidance_start=0.2))
    with torch.no_grad():
        for text, path in zip(pack.texts, found, strict=True):
            mask = lengths_to_mask(torch.tensor([len(path)]))
            velocity = teacher.net.guided_field(*teacher.embed_text([text]), mask, settings)
            start, grid = torch.from_numpy(path[None, :, 0].copy()), time_grid(NUM_STEPS)
            end = sample_ode(velocity, start, grid, jumps=field_jumps(settings))
            np.testing.assert_allclose(path[:, -1], end[0].numpy(), atol=1e-4)


def test_a_trajectory_is_guided_in_its_own_steps_not_in_those_that_its_teacher_samples_in(statistics, tmp_path: Path):
    """A teacher of one step by default would meet no guidance, which begins after t = 0."""
    teacher = make_generator(FLOW, "simple", 1, statistics).model
    packs = []
    for name, num_steps in (("many", 50), ("one", 1)):
        teacher.net.config = dataclasses.replace(teacher.net.config, num_inference_steps=num_steps)
        packs.append(states(trajectory_pack(sampler_of(teacher), STARTS, None, in_folder(tmp_path / name, statistics))))
    for name, expected in packs[0].items():
        np.testing.assert_array_equal(packs[1][name], expected)


def test_a_trajectory_starts_around_the_mean_of_its_text_where_the_teacher_does(statistics: Statistics, tmp_path):
    teacher = make_generator(FLOW, "simple", 1, statistics, start="mean").model
    pack = trajectory_pack(sampler_of(teacher), STARTS, None, in_folder(tmp_path, statistics))
    plain = make_generator(FLOW, "simple", 1, statistics).model
    other = trajectory_pack(sampler_of(plain), STARTS, None, in_folder(tmp_path, statistics))
    dim = teacher.net.config.latent_dim
    for name, text, path in zip(pack.ids, pack.texts, states(pack).values(), strict=True):
        mask = torch.ones(1, len(path), dtype=torch.bool)
        with torch.no_grad():
            mean = teacher.net.mean(*teacher.embed_text([text]), mask)[0].numpy()
        moved = path[:, :dim] - states(other)[name][:, :dim]
        np.testing.assert_allclose(moved, mean, atol=1e-5)


def test_noise_is_neither_that_of_another_split_nor_of_a_users_seed(statistics: Statistics, tmp_path):
    teacher = make_generator(FLOW, "simple", 1, statistics).model
    dev = [Start("c", "s e a", num_latents=5), *STARTS[1:]]
    packs = [
        trajectory_pack(sampler_of(teacher), starts, None, in_folder(tmp_path, statistics)) for starts in (STARTS, dev)
    ]
    dim = teacher.net.config.latent_dim
    first, other = ([path[0].reshape(-1, dim)[0] for path in states(pack).values()] for pack in packs)
    users = sample_noise(range(200), [1] * 200, dim)[:, 0].numpy()
    assert min(np.abs(users - noise).max(1).min() for noise in first) > 0.1
    assert np.abs(first[1] - other[1]).max() > 0.1


def test_batches_change_no_trajectory_and_other_starts_are_another_pack(statistics: Statistics, tmp_path):
    teacher = make_generator(FLOW, "simple", 1, statistics).model
    a, b = (in_folder(tmp_path / name, statistics) for name in "ab")
    whole = trajectory_pack(sampler_of(teacher), STARTS, None, a)
    parts = trajectory_pack(sampler_of(teacher), STARTS, None, b, batch_size=3)
    for name, path in states(whole).items():
        np.testing.assert_allclose(states(parts)[name], path, atol=1e-5)
    assert trajectory_pack(sampler_of(teacher), STARTS, None, a).folder == whole.folder
    other = [Start("a", "s e a", "anna", 5), *STARTS[1:]]
    assert trajectory_pack(sampler_of(teacher), other, None, a).folder != whole.folder


@pytest.mark.parametrize(("share", "own", "made"), [("0", 4, 0), ("0.5", 2, 2), ("0.7", 1, 3), ("0.99", 1, 3)])
def test_so_many_trajectories_for_each_clip_of_train_and_one_of_dev(
    share: str, own: int, made: int, trained, data_dir: Path, tmp_path: Path
):
    flags = f"--trajectories_per_clip 4 --joined_texts {share} --cache_dir {tmp_path / 'cache'} --num_epochs 1"
    commands.call("student", flags, D=data_dir, O=tmp_path / "run", **trained.paths)
    packs = [Pack(path) for path in (tmp_path / "cache").glob("trajectories-*")]
    counted = {len(pack): [name.startswith("joined text ") for name in pack.ids].count(True) for pack in packs}
    assert counted == {2: 0, 12 * (own + made): 12 * made}
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert np.isfinite(log[0]["train"]["loss"])


def test_a_pretrained_encoder_reads_joined_texts_too(bert: Path, trained, data_dir: Path, tmp_path: Path):
    paths = {"D": data_dir, "A": trained.autoencoder}
    words = commands.arguments("flow", f"--num_epochs 1 --cache_dir {tmp_path / 'cache'}", O=tmp_path / "flow", **paths)
    commands.call_script(*" ".join(words).replace(commands.SCRATCH, f"--text_encoder {bert}").split())
    teacher = tmp_path / "flow" / "best_model.pt"
    commands.call("student", f"--num_epochs 1 --cache_dir {tmp_path / 'cache'}", F=teacher, O=tmp_path / "run", **paths)
    cache = tmp_path / "cache"
    packs = {kind: [Pack(path) for path in cache.glob(f"{kind}-*")] for kind in ("trajectories", "texts")}
    signed = {text for pack in packs["trajectories"] for text in pack.texts}
    assert len(signed) > 14  # more than train and dev have
    assert signed <= {text for pack in packs["texts"] for text in pack.texts}


def test_flow_student_and_evaluation_start_around_the_mean(trained, data_dir: Path, tmp_path: Path):
    paths = {"D": data_dir, "A": trained.autoencoder}
    commands.call("flow", "--num_epochs 1 --start mean --start_layers 1", O=tmp_path / "flow", **paths)
    teacher = tmp_path / "flow" / "best_model.pt"
    commands.call("student", "--num_epochs 1", F=teacher, O=tmp_path / "student", **paths)
    flow, student = (load_checkpoint(tmp_path / kind / "best_model.pt", kind) for kind in ("flow", "student"))
    of_mean = {name for name in flow["weights"] if name.startswith("net.mean.")}
    assert of_mean
    assert all(torch.equal(student["weights"][name], flow["weights"][name]) for name in of_mean)
    commands.call("evaluate_flow", F=tmp_path / "student" / "best_model.pt", O=tmp_path / "evaluation", **paths)
    assert json.loads((tmp_path / "evaluation" / "metrics_test.json").read_text())["model"]["dtw"] > 0
