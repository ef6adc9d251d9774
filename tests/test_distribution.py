"""Fréchet distance and diversity against answers by hand and against scipy; intervals that hold what they should."""

import numpy as np
import pytest
import scipy.linalg
from test_metrics import generated, make_clip, make_references

from evaluation.distribution import BLOCK, LARGE_GROUP, frechet_distance, latent_scores, moments, spread
from evaluation.formulas import mean_of, ratio_by_text
from evaluation.intervals import bootstrap_counts
from evaluation.recognition import sign_distances
from evaluation.registry import estimates
from evaluation.summary import compare, differs, mean_estimates, summarise
from poses import layout


def make_latents(seed: int, count: int, dim: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) + rng.normal(size=dim)


def own_moments(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of latents, each taken once."""
    mean, covariance = moments(z, np.zeros(len(z), int), np.ones((1, 1)))
    return mean[0], covariance[0]


@pytest.mark.parametrize(("count", "dim"), [(400, 6), (5, 12)])
def test_frechet_is_that_of_scipys_matrix_root(count, dim):
    """Also where there are fewer samples than dimensions; there scipy's root has an imaginary part by rounding."""
    a, b = make_latents(0, count, dim), make_latents(1, count, dim)
    (mean_a, cov_a), (mean_b, cov_b) = ((z.mean(0), np.cov(z.T)) for z in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b + 1e-12 * np.eye(dim) * (count < dim)).real
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    found = frechet_distance(own_moments(a), own_moments(b))
    assert found == pytest.approx(expected, rel=1e-3 if count < dim else 1e-9)


def test_frechet_by_hand():
    """Two Gaussians on a line: (m - m')² + (s - s')²."""
    a, b = (np.array([1.0]), np.array([[4.0]])), (np.array([4.0]), np.array([[25.0]]))
    assert frechet_distance(a, b) == pytest.approx(9 + 9)
    assert frechet_distance(a, a) == pytest.approx(0)


def test_a_draw_has_the_moments_of_its_latents_repeated():
    """Over more clips than are held at once, each of one to four latents, far from the origin."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 5, size=2 * BLOCK + 3)
    clip = np.repeat(np.arange(len(lengths)), lengths)
    z = (make_latents(0, len(clip)) + 100).astype(np.float32)
    counts = np.stack([np.ones(len(lengths)), rng.integers(0, 4, size=len(lengths))])
    for count, mean, covariance in zip(counts, *moments(z, clip, counts), strict=True):
        drawn = np.repeat(z.astype(np.float64), count[clip].astype(int), axis=0)
        np.testing.assert_allclose(mean, drawn.mean(0), rtol=1e-12)
        np.testing.assert_allclose(covariance, np.cov(drawn.T), rtol=1e-10, atol=1e-12)


def test_the_reference_has_frechet_0_and_a_still_pose_has_not():
    real = [make_latents(n, 8) for n in range(20)]
    still = [np.tile(np.mean(np.concatenate(real), axis=0), (8, 1)) for _ in real]
    values = [
        estimates(latent_scores(clips, real))["frechet"].with_interval(bootstrap_counts(20, 10))
        for clips in (real, still)
    ]
    assert values[0] == pytest.approx((0, 0, 0), abs=1e-6)
    spread = np.trace(np.cov(np.concatenate(real).T))
    assert values[1][0] == pytest.approx(spread)  # its mean is right, its variance is nothing
    assert values[1][1] < values[1][0] < values[1][2]


def test_an_interval_of_a_distance_ends_at_0_and_one_of_a_difference_does_not():
    """For one run, for the mean of several, and for their difference."""
    real = [make_latents(n, 8) for n in range(6)]
    others = [*real[1:], real[0]]  # as a whole the same, but not in a draw
    near, far = (latent_scores([size * z for z in others], real) for size in (1, 1.1))
    counts = bootstrap_counts(6)
    alone, mean, difference = (
        found["frechet"].with_interval(counts)
        for found in (estimates(near), mean_estimates([near, near]), mean_estimates([near], [far]))
    )
    assert alone[1] == mean[1] == 0
    assert difference[1] < difference[0] < 0


def test_diversity_of_the_references_is_1_of_equal_clips_0_and_of_half_the_motion_a_half():
    references = make_references(6)
    clips = [reference.pose for reference in references]
    middle = np.mean([clip[0] for clip in clips], axis=0)
    middle[layout.MANUAL] = clips[0][0, layout.MANUAL]
    same = [np.tile(middle, (20, 1))] * 6
    halved = [(pose + middle) / 2 for pose in clips]
    texts = [reference.text for reference in references]
    real = spread(generated(clips), texts).sum()
    for poses, expected in ((same, 0), (halved, 0.5)):
        assert spread(generated(poses), texts).sum() / real == pytest.approx(expected, abs=0.02)


def test_a_text_of_many_clips_is_no_different():
    """Past LARGE_GROUP the processes share a group's pairs; the mean distance is what it was."""
    clips = generated([make_clip(n, 4 + n % 3) for n in range(LARGE_GROUP + 1)])
    distances = sign_distances(clips, clips)
    expected = [np.delete(row, n).mean() for n, row in enumerate(distances)]
    np.testing.assert_allclose(spread(clips, ["a"] * len(clips), num_workers=2), expected)
    few = spread(clips[:5], ["a", "a", "b", "a", "c"], num_workers=2)
    for clip, others in ((0, [1, 3]), (1, [0, 3]), (3, [0, 1])):
        assert few[clip] == pytest.approx(distances[clip, others].mean())
    assert np.isnan(few[[2, 4]]).all()


def test_without_a_text_that_repeats_there_is_no_diversity():
    assert np.isnan(spread(generated([make_clip(n) for n in range(3)]), ["a", "b", "c"])).all()


def test_the_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(0).normal(5, 2, size=400)
    mean, low, high = mean_of(values).with_interval(bootstrap_counts(400))
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - 1.96 * 0.1, mean + 1.96 * 0.1), abs=0.03)


@pytest.mark.parametrize("num_clips", [6, 10, 40])
def test_an_interval_holds_the_truth_as_often_as_it_says(num_clips: int):
    """A mean of few or many clips, 600 times. Plain percentiles of 6 clips would hold 86 %, of 10 clips 90 %."""
    rng, counts = np.random.default_rng(0), bootstrap_counts(num_clips)
    held = 0
    for _ in range(600):
        _, low, high = mean_of(rng.normal(size=num_clips)).with_interval(counts)
        held += low <= 0 <= high
    assert 0.925 <= held / 600 <= 0.975


def test_few_clips_show_no_difference():
    """Plain percentiles of two equal systems would leave out 0 for every second pair of clips."""
    five, six = ([{"dtw": 0.1 * np.arange(number) + shift} for shift in (1.0, 0.0)] for number in (5, 6))
    few, enough = (compare([a], [b])["dtw"] for a, b in (five, six))
    assert (few["difference"], few["low"], few["high"]) == (pytest.approx(1.0), None, None)
    assert not differs(few)
    assert differs(enough)


def test_clips_without_a_value_do_not_make_few_clips_many():
    values = np.full(100, np.nan)
    values[:5] = np.arange(5)
    assert mean_of(values).with_interval(bootstrap_counts(100))[1:] == (None, None)
    values[5] = 5.0
    assert None not in mean_of(values).with_interval(bootstrap_counts(100))


@pytest.mark.parametrize("takes", [2, 4])
def test_the_interval_of_diversity_holds_the_truth_as_often_as_it_says(takes: int):
    """30 texts, whose takes share their distances. Drawn clip by clip, it would hold 68 (4 takes) to 85 % (2)."""
    rng, counts = np.random.default_rng(0), bootstrap_counts(30 * takes)
    held = 0
    for _ in range(200):
        distances = np.repeat(rng.gamma(4, size=(30, 2)), takes, axis=0)  # of clips and references, the same law
        values = np.column_stack([distances, np.repeat(np.arange(30), takes)])
        _, low, high = ratio_by_text(values).with_interval(counts)
        held += low <= 1 <= high
    assert 0.9 <= held / 200 <= 0.98


def test_diversity_of_one_text_has_no_interval():
    values = np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [np.nan, np.nan, 1.0]])
    assert ratio_by_text(values).with_interval(bootstrap_counts(3)) == (1.0, None, None)


def test_what_is_undefined_has_no_interval():
    assert mean_of(np.full(3, np.nan)).with_interval(bootstrap_counts(3)) == (None, None, None)


def test_a_paired_difference_is_seen_where_separate_intervals_overlap():
    rng = np.random.default_rng(0)
    hard = rng.normal(10, 5, size=100)  # how hard each clip is, for both
    row = {"sync_correlation": np.full((100, 3), np.nan), "mse_aligned": np.zeros(100)}
    a, b = ({**row, "dtw": hard + offset + rng.normal(0, 0.1, size=100)} for offset in (0, 0.5))
    line = compare([a], [b])["dtw"]
    assert line["difference"] == pytest.approx(line["a"] - line["b"])
    assert -0.6 < line["low"] < line["difference"] < line["high"] < -0.4
    same = compare([a], [a])["dtw"]
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_a_difference_between_seeds_must_exceed_what_seeds_differ_by():
    rng = np.random.default_rng(0)
    row = {"sync_correlation": np.full((100, 3), np.nan), "mse_aligned": np.zeros(100)}
    hard = rng.normal(10, 5, size=100)
    theirs = [{**row, "dtw": hard} for _ in range(3)]

    def line(*offsets: float) -> dict[str, float | None]:
        return compare([{**row, "dtw": hard + offset} for offset in offsets], theirs)["dtw"]

    steady, fickle = line(0.5, 0.5, 0.5), line(0.0, 0.5, 1.0)
    assert steady["difference"] == pytest.approx(fickle["difference"]) == pytest.approx(0.5)
    assert steady["low"] == pytest.approx(0.5)
    assert fickle["low"] == pytest.approx(0.5 - 4.303 * 0.5 / 3**0.5, abs=1e-3)  # Student's t, two degrees


def test_equal_systems_rarely_differ_over_three_seeds():
    """An interval of 95 % misses 0 once in twenty times, also where seeds differ more than clips."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        clips = rng.normal(size=30)
        ours, theirs = ([{"dtw": clips + rng.normal()} for _ in range(3)] for _ in range(2))
        line = compare(ours, theirs)["dtw"]
        missed += not line["low"] <= 0 <= line["high"]
    assert missed <= 20


def test_a_clip_counts_for_both_sides_or_for_neither():
    ours = {"dtw": np.array([0.1] * 10 + [np.nan] * 10)}
    theirs = {"dtw": np.array([0.1] * 10 + [0.9] * 10)}
    line = compare([ours], [theirs])["dtw"]
    assert (line["a"], line["b"], line["difference"]) == pytest.approx((0.1, 0.1, 0.0))


@pytest.mark.parametrize("values", [[0.5], [0.5, np.nan, np.nan, np.nan]])
def test_one_clip_has_no_interval(values):
    row = summarise({"dtw": np.array(values)})
    assert (row["dtw"], row["dtw_low"], row["dtw_high"]) == (0.5, None, None)
    row = summarise({"dtw": np.array([*[0.5] * 6, np.nan, np.nan])})
    assert (row["dtw"], row["dtw_low"], row["dtw_high"]) == (0.5, 0.5, 0.5)
