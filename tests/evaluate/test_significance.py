from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from ragqa.evaluate.significance import RESAMPLES, compare, detectable, holm, means, randomisation_test

Values = NDArray[np.float64]

# Skewed, symmetric, of few values, of 0 and 1, and ranks' reciprocals, whose means tie but for rounding.
SAMPLES = {
    "skewed": np.random.default_rng(1).exponential(size=30),
    "symmetric": np.random.default_rng(2).normal(1, 2, size=50),
    "small": np.array([0.1, 0.9, 0.4, 0.35, 0.7, 0.2]),
    "hits": np.array([1.0] * 17 + [0.0] * 8),
    "reciprocal ranks": np.array([1, 1, 1 / 2, 1 / 3, 1 / 3, 0, 0, 1 / 7, 1, 1 / 10] * 2),
}


def differences(count: int, shift: float, seed: int, same: int = 0) -> Values:
    """Return `count` differences and `same` zeros, shuffled."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([rng.normal(shift, 1, count), np.zeros(same)]))


def peer_p(values: Values, resamples: int = 10_000) -> float:
    found = stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(7),
    )
    return float(found.pvalue)


@pytest.mark.parametrize("name", SAMPLES)
def test_intervals_are_scipys_bca(name: str) -> None:
    sample = SAMPLES[name]
    found = means(sample[:, None])[0]
    peer = stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(7)
    ).confidence_interval
    tolerance = 0.06 * sample.std() / math.sqrt(len(sample)) * 1.96 + 1.01 * (name == "hits") / len(sample)
    assert found.value == pytest.approx(sample.mean())
    assert found.count == len(sample)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=tolerance)


@pytest.mark.parametrize(("hits", "count"), [(5, 12), (9, 11)])
def test_means_that_tie_but_for_rounding_do_not_move_an_interval(hits: int, count: int) -> None:
    sample = np.array([[1.0]] * hits + [[0.0]] * (count - hits))
    whole, part = means(sample)[0], means(sample * 0.7)[0]
    assert (part.low, part.high) == pytest.approx((whole.low * 0.7, whole.high * 0.7))


def test_an_interval_covers_the_truth_nearly_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    # As nDCG is: many zeros, the rest between 0 and 1. Its mean is 0.7 * 2 / 3.
    sets = rng.beta(2, 1, (30, 200)) * (rng.random((30, 200)) < 0.7)
    covered = [mean.low <= 0.7 * 2 / 3 <= mean.high for mean in means(sets)]
    assert 0.9 <= np.mean(covered) <= 0.99


def test_an_interval_takes_the_skewness_into_account() -> None:
    mean = means(SAMPLES["skewed"][:, None])[0]
    assert mean.high - mean.value > 1.05 * (mean.value - mean.low)


@pytest.mark.parametrize(("count", "same"), [(2, 0), (5, 3), (9, 0), (13, 0)])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_p_is_exact_where_few_questions_differ(count: int, same: int, shift: float) -> None:
    values = differences(count, shift, seed=count, same=same)
    assert randomisation_test(values[:, None])[0] == pytest.approx(peer_p(values), abs=1e-12)


def test_p_is_exact_among_many_questions_of_which_few_differ() -> None:
    values = differences(10, 0.5, seed=4)
    among = np.concatenate([np.zeros(500), values])
    assert randomisation_test(among[:, None])[0] == pytest.approx(peer_p(values), abs=1e-12)


def test_sums_that_tie_count_as_extreme() -> None:
    values = np.array([0.1, 0.2, 0.3, -0.3, 0.7, 0.1])
    # By hand: the sum is 1.1 of 1.7 in all, so that negative signs may hold 0.3 or 1.4 at the least.
    lost = [sum(v for place, v in enumerate([1, 2, 3, 3, 7, 1]) if bits >> place & 1) for bits in range(64)]
    assert randomisation_test(values[:, None])[0] == sum(v <= 3 or v >= 14 for v in lost) / 64


@pytest.mark.parametrize(("count", "shift"), [(14, 0.0), (40, 0.2), (100, 0.15)])
def test_p_is_estimated_where_many_questions_differ(count: int, shift: float) -> None:
    values = differences(count, shift, seed=count)
    p, peer = randomisation_test(values[:, None])[0], peer_p(values, 50_000)
    assert p == pytest.approx(peer, abs=5 * math.sqrt(peer * (1 - peer) / RESAMPLES) + 1e-4)


def test_p_is_never_zero() -> None:
    assert randomisation_test(np.ones((100, 1)))[0] == 1 / (RESAMPLES + 1)


def test_p_does_not_hang_on_the_order_of_the_questions() -> None:
    values = differences(60, 0.25, seed=5)
    one, other = randomisation_test(values[:, None])[0], randomisation_test(values[::-1, None])[0]
    assert one == pytest.approx(other, abs=6 * math.sqrt(one * (1 - one) / RESAMPLES))


def test_p_is_uniform_where_there_is_no_difference() -> None:
    columns = np.random.default_rng(6).normal(size=(30, 400))
    p_values = np.array(randomisation_test(columns))
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_holm_as_worked_out_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_raises_p_values_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    in_order = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert in_order == sorted(in_order)
    assert not p_values or min(adjusted) == min(1, len(p_values) * min(p_values))


@pytest.mark.parametrize("count", [8, 30, 200])
def test_what_is_detectable_is_found_four_times_in_five(count: int) -> None:
    values = differences(count, 0.0, seed=count)
    noncentral = detectable(values) / values.std(ddof=1) * math.sqrt(count)
    critical = stats.t.ppf(0.975, count - 1)
    power = stats.nct.sf(critical, count - 1, noncentral) + stats.nct.cdf(-critical, count - 1, noncentral)
    assert power == pytest.approx(0.8, abs=0.02)


def test_runs_that_are_equal_do_not_differ() -> None:
    (found,) = compare([("a", "b", np.zeros(50))], "AP")
    assert (found.mean.value, found.mean.low, found.mean.high) == (0, 0, 0)
    assert (found.p, found.adjusted_p, found.significant) == (1, 1, False)
    assert (found.wins, found.ties, found.losses) == (0, 50, 0)


def test_a_constant_has_an_interval_without_width() -> None:
    mean = means(np.full((7, 1), 0.1))[0]
    assert mean.low == mean.high == mean.value == pytest.approx(0.1)


def test_one_question_shows_nothing() -> None:
    (found,) = compare([("a", "b", np.array([0.5]))], "AP")
    assert found.mean.value == 0.5
    assert math.isnan(found.mean.low)
    assert math.isnan(found.detectable)
    assert (found.p, found.significant) == (1, False)


def test_no_question_and_no_pair_are_no_error() -> None:
    (found,) = compare([("a", "b", np.array([]))], "AP")
    assert math.isnan(found.mean.value)
    assert (found.mean.count, found.p, found.significant) == (0, 1, False)
    assert compare([], "AP") == []


def test_pairs_are_compared_each_on_its_questions_and_corrected_together() -> None:
    clear, none, fewer = np.full(20, 0.5), differences(20, 0, seed=8), np.array([0.1, -0.2, 0.0])
    found = compare([("a", "b", clear), ("a", "c", none), ("b", "c", fewer)], "AP")
    assert [(one.a, one.b, one.mean.count) for one in found] == [
        ("a", "b", 20),
        ("a", "c", 20),
        ("b", "c", 3),
    ]
    assert [one.adjusted_p for one in found] == holm([one.p for one in found])
    assert [one.significant for one in found] == [True, False, False]
    assert (found[2].wins, found[2].ties, found[2].losses) == (1, 1, 1)
    assert found[0].adjusted_p == 3 * found[0].p


def test_the_same_values_give_the_same_figures() -> None:
    pairs = [("a", "b", differences(40, 0.3, seed=9))]
    assert compare(pairs, "AP") == compare(pairs, "AP")
