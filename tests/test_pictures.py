"""Dev clips in TensorBoard: the real one above what the model makes of it, and a training that does not notice."""

import io
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_training import same, train_toy

from checkpoints import load_checkpoint
from runtime.errors import UserError
from training import pictures
from training.pictures import NUM_CLIPS, spread_out


def images(run: Path) -> dict[str, list]:
    """TensorBoard's images by name."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    return {name: events.Images(name) for name in events.Tags()["images"]}


@pytest.fixture(scope="module")
def pose_to_text(data_dir: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pose_to_text") / "run"
    small = "--num_epochs 1 --batch_size 8 --num_workers 0 --max_seq_len 40 --picture_every 1 --hidden_dim 32 "
    small += "--num_heads 4 --encoder_layers 1 --decoder_layers 1"
    words = ["--data_dir", data_dir, "--output_dir", folder, *small.split()]
    commands.call_script("train_pose_to_text.py", *words)
    return folder


@pytest.mark.parametrize("name", ["autoencoder", "predictor", "flow", "student"])
def test_training_with_pictures_equals_training_without(name: str, data_dir, trained, tmp_path: Path, request):
    paths = {"D": data_dir, "A": trained.autoencoder, "F": trained.flow}
    encoder = f"--text_encoder {request.getfixturevalue('bert')}" if name == "predictor" else ""
    dropout = "--dropout 0.2" if name != "student" else ""
    for every in (0, 1):
        commands.call(name, f"{encoder} {dropout} --picture_every {every}", O=tmp_path / str(every), **paths)
    without, with_pictures = (load_checkpoint(tmp_path / run / "last.pt", name) for run in "01")
    assert same(without, with_pictures)
    assert images(tmp_path / "0") == {}
    drawn = images(tmp_path / "1")
    assert len(drawn) == 2  # dev has two clips
    assert all([image.step for image in of_clip] == [1, 2] for of_clip in drawn.values())


def test_a_picture_has_the_real_clip_above_the_models(trained, data_dir, tmp_path: Path, monkeypatch):
    sheets = []

    def draw_sheet(rows: list, *_: object, **__: object) -> np.ndarray:
        sheets.append(rows)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(pictures, "draw_sheet", draw_sheet)
    commands.call("flow", "--picture_every 2", D=data_dir, A=trained.autoencoder, O=tmp_path)
    assert [[label for label, _ in rows] for rows in sheets] == [
        ["real: l o t", "generated"],
        ["real: s e a", "generated"],
    ]
    for (_, real), (_, made) in sheets:
        assert real.shape == made.shape
        assert np.isfinite(made).all()


def test_the_picture_itself_shows_two_rows(trained, data_dir, tmp_path: Path):
    commands.call("autoencoder", "--picture_every 2", D=data_dir, O=tmp_path)
    encoded = next(iter(images(tmp_path).values()))[0].encoded_image_string
    picture = np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))
    above, below = np.array_split(picture, 2)
    assert min(above.min(), below.min()) < 128
    assert not np.array_equal(above, below[: len(above)])


def test_a_clip_that_cannot_be_drawn_ends_no_training(statistics, tmp_path: Path, capsys):
    def fails(model: object) -> list:
        raise UserError("the flow's clip has NaN")

    train_toy(tmp_path, statistics, pictures=fails, picture_every=1)
    assert (tmp_path / "best_model.pt").is_file()
    assert "no pictures of epoch 1: the flow's clip has NaN" in capsys.readouterr().out


def test_a_back_translators_pictures_say_what_it_reads(pose_to_text: Path):
    assert len(images(pose_to_text)) == 2


def test_whatever_a_hook_draws_training_goes_on_as_without(statistics, tmp_path: Path):
    def draws(model: torch.nn.Module) -> list:
        torch.rand(1000)
        return [("noise", np.zeros((4, 4, 3), np.uint8))]

    plain = train_toy(tmp_path / "a", statistics)
    assert same(plain, train_toy(tmp_path / "b", statistics, pictures=draws, picture_every=1))
    assert images(tmp_path / "b").keys() == {"noise"}


def test_a_few_clips_stand_for_the_whole_split():
    assert spread_out(1) == [0]
    assert spread_out(3) == [0, 1, 2]
    assert spread_out(1000) == [0, 333, 666, 999]
    assert len(spread_out(1000)) == NUM_CLIPS
