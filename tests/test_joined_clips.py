"""`--joined_clips`: train clips that a second one follows, with both texts."""

import re
from pathlib import Path

import commands
import numpy as np
import pytest
import torch

from dataset import LatentDataset, make_loader
from poses.pack import write_pack
from training.joined_clips import JoinedClips

STRIDE, LEARNT, PLACE = 4, 2, 3
FRAMES = [9, 30, 4, 17, 24, 12, 5, 25, 33, 8]
SIGNERS = ["ann", "bob"] * 5


def clips_of(folder: Path, texts: list[str] | None = None, signers: list[str] | None = None) -> LatentDataset:
    """Ten clips; the learnt numbers of clip i's latents are i, its place is i + 0.5, and its energies are i."""
    texts = texts or [f"text {i}" for i in range(len(FRAMES))]

    def items():
        for i, frames in enumerate(FRAMES):
            z = np.full((-(-frames // STRIDE), LEARNT + PLACE), i, np.float32)
            z[:, LEARNT:] += 0.5
            energy = np.full((frames, 2), i, np.float32)
            yield str(i), texts[i], {"z": z, "energy": energy, "frames": np.array([[frames]], np.float32)}

    pack = write_pack(folder / "latents", items())
    return LatentDataset(pack, None, {str(i): name for i, name in enumerate(signers or [])})


def joined(clips: LatentDataset, share: float = 0.9, **changes) -> JoinedClips:
    settings = {"num_tokens": [3] * len(clips), "max_tokens": 256, "max_latents": 15, "stride": STRIDE, "place": LEARNT}
    return JoinedClips(clips, share, 0, **{**settings, **changes})


def test_a_clip_and_the_one_that_follows_it_are_one_with_both_texts(tmp_path: Path):
    data = joined(clips_of(tmp_path))
    followers = data.followers(3)
    assert (followers >= 0).sum() > 5
    for first in np.flatnonzero(followers >= 0):
        second, item = int(followers[first]), data[(int(first), 3)]
        assert item["text"] == f"text {first} text {second}"
        n = -(-FRAMES[first] // STRIDE)
        whole = n * STRIDE
        assert (item["z"][:n, :LEARNT] == first).all()
        assert (item["z"][n:, :LEARNT] == second).all()
        assert (item["z"][:, LEARNT:] == first + 0.5).all(), "the body moved within the clip"
        assert item["frames"].item() == whole + FRAMES[second]
        assert len(item["z"]) == -(-int(item["frames"].item()) // STRIDE)
        assert len(item["energy"]) == item["frames"].item()
        assert np.isnan(item["energy"][FRAMES[first] : whole]).all()
        assert (item["energy"][whole:] == second).all()


def test_frozen_embeddings_are_joined_like_the_texts(tmp_path: Path):
    clips = clips_of(tmp_path)
    pairs = [
        (text, text, {"cond": np.full((2 + i % 3, 4), i, np.float32)}) for i, text in enumerate(clips.latents.texts)
    ]
    clips = LatentDataset(clips.latents, write_pack(tmp_path / "texts", pairs))
    data = joined(clips)
    first = int(np.flatnonzero(data.followers(1) >= 0)[0])
    second = int(data.followers(1)[first])
    assert data[(first, 1)]["cond"][:, 0].tolist() == [first] * (2 + first % 3) + [second] * (2 + second % 3)


def test_only_clips_of_one_signer_are_joined(tmp_path: Path):
    clips = clips_of(tmp_path, signers=SIGNERS)
    data = joined(clips)
    for epoch in range(1, 20):
        followers = data.followers(epoch)
        assert (followers >= 0).any()
        for first, second in enumerate(followers):
            assert second < 0 or SIGNERS[first] == SIGNERS[second]
            assert data[(first, epoch)]["signer"] == SIGNERS[first]


def test_no_clip_is_joined_with_itself(tmp_path: Path):
    """Not even that of a signer who has no other."""
    data = joined(clips_of(tmp_path, signers=["ann", *["bob"] * 9]))
    for epoch in range(1, 40):
        followers = data.followers(epoch)
        assert followers[0] == -1
        assert (followers[1:] >= 0).any()
        assert (followers != np.arange(len(data))).all()


@pytest.mark.parametrize(
    ("limits", "most"), [({"max_latents": 6}, 6), ({"num_tokens": range(10), "max_tokens": 8}, None)]
)
def test_no_clip_grows_beyond_the_limits(tmp_path: Path, limits: dict, most: int | None):
    data = joined(clips_of(tmp_path), **limits)
    for epoch in range(1, 20):
        followers = data.followers(epoch)
        assert (followers >= 0).any()
        for first, second in enumerate(followers):
            if second >= 0:
                assert data.num_tokens[first] + data.num_tokens[second] <= data.max_tokens
                assert most is None or len(data[(first, epoch)]["z"]) <= most


def test_nothing_is_joined_where_no_two_texts_fit(tmp_path: Path):
    data = joined(clips_of(tmp_path), max_tokens=5)
    assert all((data.followers(epoch) == -1).all() for epoch in range(1, 20))


def test_a_clip_without_a_text_stays_alone(tmp_path: Path):
    texts = [f"text {i}" if i % 2 else " " for i in range(10)]
    data = joined(clips_of(tmp_path, texts))
    followers = np.array([data.followers(epoch) for epoch in range(1, 20)])
    assert (followers[:, ::2] == -1).all()
    assert set(followers[:, 1::2].flatten()) == {-1, 1, 3, 5, 7, 9}


def test_the_share_is_that_of_the_clips_that_fit(tmp_path: Path):
    data = joined(clips_of(tmp_path), share=0.3, max_latents=100)
    assert np.mean([data.followers(epoch) >= 0 for epoch in range(400)]) == pytest.approx(0.3, abs=0.02)


def test_each_epoch_joins_others_and_is_the_same_again_in_any_worker(tmp_path: Path):
    data = joined(clips_of(tmp_path))
    assert not np.array_equal(data.followers(1), data.followers(2))
    assert np.array_equal(data.followers(1), joined(data.clips).followers(1))
    epochs = []
    for num_workers in (0, 2):
        loader = make_loader(data, 4, shuffle=True, num_workers=num_workers)
        loader.batch_sampler.epoch = 7
        epochs.append(list(loader))
    for batch, again in zip(*epochs, strict=True):
        assert batch["text"] == again["text"]
        assert torch.equal(batch["z"], again["z"])


def test_batches_are_of_the_lengths_that_the_joined_clips_have(tmp_path: Path):
    data = joined(clips_of(tmp_path))
    for epoch in (1, 2):
        assert data.lengths_in(epoch).tolist() == [len(data[(i, epoch)]["z"]) for i in range(len(data))]
    loader = make_loader(data, 5, shuffle=True)
    loader.batch_sampler.epoch = 2
    shorter, longer = sorted([batch["z_mask"].sum(1) for batch in loader], key=max)
    assert max(shorter) <= min(longer)


def test_a_stage_says_how_many_clips_it_joins(trained, bert, data_dir: Path, tmp_path: Path, capsys):
    for stage, more in (("flow", ""), ("predictor", f"--text_encoder {bert}")):
        more += " --joined_clips 0.9 --max_seq_len 240 --num_epochs 1"
        commands.call(stage, more, D=data_dir, A=trained.autoencoder, O=tmp_path / stage)
        said = re.search(
            r"about (\d+) of 12 train clips are followed by another, up to 240 frames", capsys.readouterr().out
        )
        assert int(said[1]) > 6


def test_a_share_of_clips_of_which_no_two_fit_is_refused(trained, data_dir: Path, tmp_path: Path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "flow"}
    said = commands.refusal(capsys, lambda: commands.call("flow", "--joined_clips 0.5 --max_seq_len 9", **paths))
    assert "--joined_clips 0.5: no train clip can be followed by another, as both together may have" in said
    assert not (tmp_path / "flow" / "log.jsonl").exists()


def test_a_run_that_joined_no_clips_is_resumed_without_them(trained, data_dir: Path, tmp_path: Path, capsys):
    paths = {"D": data_dir, "A": trained.autoencoder, "O": tmp_path / "flow"}
    more = f"--resume_from {trained.flow.with_name('last.pt')} --joined_clips 0.5 --max_seq_len 240"
    said = commands.refusal(capsys, lambda: commands.call("flow", more, **paths))
    assert "other settings (--joined_clips is 0.5, was 0.0, --max_seq_len is 240, was 40); restore them" in said
