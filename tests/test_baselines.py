"""The rows beside the model: mean pose, random clip, clip of the nearest text, and wrong texts."""

import dataclasses
import shutil
from collections import Counter

import commands
import numpy as np
import pytest

from evaluation.baselines import NearestTexts, baseline_clips, nearest_text_clips, shuffled_texts
from evaluation.clips import Reference, read_references
from evaluation.evaluator import Evaluator
from poses import layout
from poses.splits import load_split
from poses.statistics import Statistics, statistics_path
from runtime.errors import UserError


def test_the_nearest_text_has_most_trigrams_in_common():
    rng = np.random.default_rng(0)
    texts = sorted({"".join(rng.choice([*"aab "], 12)).strip() for _ in range(60)})

    def dice(one: str, other: str) -> float:
        a, b = (Counter(f"  {text} "[i : i + 3] for i in range(len(text) + 1)) for text in (one, other))
        return 2 * (a & b).total() / (a.total() + b.total())

    nearest_of = NearestTexts(texts[::2])
    for text in texts:
        assert nearest_of(text) == max(texts[::2], key=lambda other: dice(text, other))


def test_texts_that_differ_in_punctuation_alone_are_one_for_every_row(data_dir):
    train, references = load_split(data_dir, "train"), read_references(load_split(data_dir, "dev"))
    texts, written = [*train.texts], [f"{text.title()}!" for text in train.texts]
    asked = [dataclasses.replace(reference, text=train.texts[3]) for reference in references]
    nearest = nearest_text_clips(train, asked, seed=0)
    train.texts = [texts[n] if n % 2 else written[n] for n in range(len(texts))]
    for clip, other in zip(nearest, nearest_text_clips(train, asked, seed=0), strict=True):
        np.testing.assert_array_equal(clip.pose, other.pose)
    wrong = shuffled_texts(["a", "A.", "b", "a", "c"], 0)
    assert all({one, other} != {"a", "A."} for one, other in zip(wrong, ["a", "A.", "b", "a", "c"], strict=True))
    assert wrong[0] == wrong[1] == wrong[3]
    with pytest.raises(UserError, match="one text"):
        shuffled_texts(["a", "A.", "a!"], 0)
    named = [dataclasses.replace(one, text=text) for one, text in zip(references, ("hello", "Hello."), strict=True)]
    statistics = Statistics.load(statistics_path(data_dir, None))
    assert len({*Evaluator(named, train, None, statistics).text_numbers}) == 1


def test_a_train_clip_without_a_text_is_nobodys_nearest(data_dir):
    train = load_split(data_dir, "train")
    pose = np.zeros((4, layout.POSE_DIM))
    references = [Reference(pose, pose == 0, "a", text) for text in ("", train.texts[3], "zzz")]
    train.texts = ["" if n != 3 else text for n, text in enumerate(train.texts)]
    nothing, *nearest = nearest_text_clips(train, references, seed=0)
    assert not nothing.seen.any()
    for clip in nearest:
        np.testing.assert_array_equal(clip.pose, train.field("pose", 3))
    train.texts = [""] * len(train)
    assert baseline_clips(train, references, 0).keys() == {"mean_pose", "random_clip"}


def test_the_takes_of_a_text_are_all_used_before_one_is_used_again(data_dir):
    train = load_split(data_dir, "train")
    train.texts = ["hello"] * len(train)
    pose = np.zeros((4, layout.POSE_DIM))
    asked = [Reference(pose, pose == 0, str(n), "hello") for n in range(2 * len(train))]
    drawn = [clip.pose.tobytes() for clip in nearest_text_clips(train, asked, seed=0)]
    assert set(Counter(drawn).values()) == {2}
    assert len({*drawn[: len(train)]}) == len(train)


def test_a_train_clip_is_compared_with_others_than_itself(data_dir):
    train = load_split(data_dir, "train")
    references = read_references(train)
    for texts in (["hello"] * len(train), [f"word {n}" for n in range(len(train))]):
        train.texts = texts
        own = [dataclasses.replace(reference, text=text) for reference, text in zip(references, texts, strict=True)]
        rows = baseline_clips(train, own, 0, on_train=True)
        for name in ("random_clip", "nearest_text"):
            assert all(not np.array_equal(clip.pose, one.pose) for clip, one in zip(rows[name], own, strict=True))
    evaluator = Evaluator(own, train, None, Statistics.load(statistics_path(data_dir, None)), on_train=True)
    assert evaluator.score(own)["recognition"].all()  # any other row's clips
    assert not evaluator.score(own, from_train=True)["recognition"].any()
    some = [reference for number, reference in enumerate(own) if number % 2]  # as when long texts are left out
    for clip, reference in zip(nearest_text_clips(train, some, 0, on_train=True), some, strict=True):
        assert not np.array_equal(clip.pose, reference.pose)
    train.texts = ["hello", *[""] * (len(train) - 1)]
    (nothing,) = nearest_text_clips(train, [dataclasses.replace(own[0], text="hello")], 0, on_train=True)
    assert not nothing.seen.any()


def test_the_mean_pose_is_that_of_this_train_whatever_the_autoencoder_learnt_from(data_dir, trained, tmp_path):
    data = shutil.copytree(data_dir, tmp_path / "data")
    for path in (data / "train" / "poses").glob("*.npz"):
        with np.load(path) as archive:
            np.savez(path, **{**archive, "keypoints": archive["keypoints"] * np.array([1, 0.9])})
    shutil.rmtree(data / "cache")
    train, references = load_split(data, "train"), read_references(load_split(data, "dev"))
    clip, *_ = baseline_clips(train, references, seed=0)["mean_pose"]
    commands.call("data_preparation", D=data)
    np.testing.assert_array_equal(clip.pose[0], Statistics.load(statistics_path(data, None)).mean)


def test_every_wrong_text_is_wrong_and_one_text_alone_has_none():
    texts = ["a", "b", "b", "c", "a", "d"]
    for seed in range(20):
        wrong = shuffled_texts(texts, seed)
        assert all(one != other for one, other in zip(wrong, texts, strict=True))
        assert len({*zip(texts, wrong, strict=True)}) == 4  # one wrong text for each text
    with pytest.raises(UserError, match="one text"):
        shuffled_texts(["a", "a"], 0)


def test_where_there_is_no_text_none_is_wrong():
    assert shuffled_texts(["a", "", "b", "..."], 0) == ["b", "", "a", "..."]
    with pytest.raises(UserError, match="one text or none"):
        shuffled_texts(["a", "", "..."], 0)
