"""Packs are found by what they were made from, are refused when damaged, and are readable like any other file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from models.autoencoder import PoseSpace
from poses.pack import Pack, cached_pack, digest
from runtime.errors import UserError
from training import latents
from training.latents import LatentSource, latent_pack

MADE_FROM = {"data": "abc", "length": 3}


@pytest.fixture
def make(tmp_path: Path):
    """Ask for a pack of one clip; `make.times` counts how often it was made."""

    def ask(name: str = "numbers", version: int = 1, made_from: dict = MADE_FROM) -> Pack:
        def items():
            ask.times += 1
            yield "clip", "a text", {"z": np.arange(6, dtype=np.float32).reshape(3, 2)}

        return cached_pack(tmp_path, name, version, made_from, items)

    ask.times = 0
    return ask


def test_a_pack_is_made_once_and_says_what_from(make):
    first, again = make(), make(made_from=dict(reversed(MADE_FROM.items())))
    assert make.times == 1
    assert first.folder == again.folder
    index = json.loads((first.folder / "index.json").read_text())
    assert index["made_from"] == {"name": "numbers", "version": 1, **MADE_FROM}


def test_another_name_version_or_source_is_another_pack(make):
    folders = {make().folder, make("letters").folder, make(version=2).folder}
    folders |= {make(made_from={**MADE_FROM, "length": 4}).folder, make(made_from={"data": "abc"}).folder}
    assert len(folders) == make.times == 5


def test_a_digest_tells_plain_values_apart_whatever_their_order():
    assert digest({"a": 1, "b": [2.5, "ü"]}) == digest({"b": [2.5, "ü"], "a": 1})
    assert len({digest(value) for value in (["ab", "c"], ["a", "bc"], ["abc"], "abc", None, 1, 1.5, True)}) == 8


def break_index(folder: Path) -> None:
    content = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**content, "ids": []}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: os.truncate(folder / "z", 23),
        lambda folder: (folder / "z").unlink(),
        lambda folder: os.truncate(folder / "index.json", 40),
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: (folder / "index.json").write_text("[]"),
        break_index,
    ],
)
def test_a_damaged_pack_is_refused_and_says_what_to_do(make, damage):
    folder = make().folder
    damage(folder)
    with pytest.raises(UserError, match=f"{folder.name}: a damaged cache; delete this folder, and it is made again"):
        make()


def test_others_may_read_a_pack(make):
    before = os.umask(0o022)
    try:
        folder = make().folder
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_another_definition_of_motion_energy_is_not_read_from_old_latents(data_dir, statistics, tmp_path, monkeypatch):
    source = LatentSource(PoseSpace(), statistics, "", data_dir, tmp_path, 40, "resample")
    first = latent_pack(source, "dev", torch.device("cpu"))
    assert latent_pack(source, "dev", torch.device("cpu")).folder == first.folder
    monkeypatch.setattr(latents, "ENERGY_VERSION", latents.ENERGY_VERSION + 1)
    assert latent_pack(source, "dev", torch.device("cpu")).folder != first.folder
