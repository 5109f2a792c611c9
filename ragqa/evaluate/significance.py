"""What a difference between two runs is worth: intervals, tests and the power of a question set.

All of it is paired: both runs answered the same questions. Nothing is assumed of how the values are
distributed. Figures come out the same at every call, because the resampling starts from SEED.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 0
CONFIDENCE = 0.95
POWER = 0.8
# With so few questions that differ, all ways to swap them are looked at instead of a sample.
EXACT_UP_TO = 13
# Numbers of a resampling matrix in memory at a time.
BLOCK = 4_000_000

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over `count` questions with its confidence interval; `low` and `high` are NaN below two."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Run B less run A on one metric, over the `count` questions that both have a value for.

    `p` is the randomisation test's, `adjusted_p` after Holm's correction. `detectable` is the smallest
    difference that these questions would have shown, had it been there, four times in five.
    """

    a: str
    b: str
    metric: str
    mean: Mean
    p: float
    adjusted_p: float
    wins: int
    ties: int
    losses: int
    detectable: float

    @property
    def significant(self) -> bool:
        """Whether chance alone would seldom (1 in 20, over all pairs) make so large a difference."""
        return self.adjusted_p < 1 - CONFIDENCE


def means(columns: Values) -> list[Mean]:
    """Return the mean and its interval of each column of `columns`, shape (questions, columns).

    The interval is the BCa bootstrap's over questions (Efron 1987, JASA 82:171-185): bias-corrected,
    and accelerated by the skewness of the values.
    """
    from scipy.special import ndtr, ndtri

    count = len(columns)
    if count < 2:
        values = columns.mean(axis=0) if count else np.full(columns.shape[1], np.nan)
        return [Mean(float(value), math.nan, math.nan, count) for value in values]
    rng = np.random.default_rng(SEED)
    resampled = np.concatenate(
        [_counts(rng, count, rows) @ columns / count for rows in _blocks(count)], axis=0
    )
    found = []
    for column, samples in zip(columns.T, resampled.T, strict=True):
        mean = float(column.mean())
        if not np.ptp(column):
            found.append(Mean(mean, mean, mean, count))
            continue
        centred = column - mean
        # Jackknife values of a mean move against the value left out, which leaves its skewness.
        spread = float((centred**2).sum())
        acceleration = float((centred**3).sum()) / (6 * spread**1.5)
        # Half of what ties with the mean counts as below it: many resamples of 0s and 1s do.
        slack = 1e-9 * float(np.abs(centred).max())
        under = np.count_nonzero(samples < mean - slack) + np.count_nonzero(samples <= mean + slack)
        below = under / (2 * len(samples))
        bias = float(ndtri(np.clip(below, 1 / len(samples), 1 - 1 / len(samples))))
        tails = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        shifted = bias + ndtri(tails)
        low, high = np.quantile(samples, ndtr(bias + shifted / (1 - acceleration * shifted)))
        found.append(Mean(mean, float(low), float(high), count))
    return found


def randomisation_test(columns: Values) -> list[float]:
    """Return the two-sided p-value of each column of paired differences, shape (questions, columns).

    Under the null hypothesis each question's two values could as well be swapped (Fisher; Smucker,
    Allan and Carterette 2007, CIKM, pp. 623-632): p is the share of sign changes whose mean is at
    least as far from 0. All are looked at where at most EXACT_UP_TO questions differ; else it is an
    estimate from RESAMPLES, which counts the observed one too, and so is never 0.
    """
    many = [place for place, column in enumerate(columns.T) if np.count_nonzero(column) > EXACT_UP_TO]
    found = [1.0] * columns.shape[1]
    for place, column in enumerate(columns.T):
        if place not in many:
            found[place] = _exact_p(column[column != 0])
    if many:
        observed = np.abs(columns[:, many].sum(axis=0))
        extreme = np.zeros(len(many))
        rng = np.random.default_rng(SEED)
        for rows in _blocks(len(columns)):
            signs = rng.integers(0, 2, (rows, len(columns)), dtype=np.int8) * np.float64(2) - 1
            extreme += (np.abs(signs @ columns[:, many]) >= observed - _slack(observed)).sum(axis=0)
        for place, count in zip(many, extreme, strict=True):
            found[place] = float((count + 1) / (RESAMPLES + 1))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values in their order, adjusted for their number (Holm 1979, Scand. J. Statist. 6:65)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = largest
    return adjusted


def detectable(differences: Values) -> float:
    """Return the smallest mean difference that a paired test would find significant four times in five.

    For a two-sided t test at .05 with the deviation of these differences: (t_.975 + t_.8) s / sqrt(n)
    (Sakai 2016, Information Retrieval Journal 19:256-283, has the exact form). NaN below two questions.
    """
    from scipy.special import stdtrit

    count = len(differences)
    if count < 2:
        return math.nan
    quantiles = stdtrit(count - 1, (1 + CONFIDENCE) / 2) + stdtrit(count - 1, POWER)
    return float(quantiles * differences.std(ddof=1) / math.sqrt(count))


def compare(pairs: Sequence[tuple[str, str, Values]], metric: str) -> list[Difference]:
    """Return a Difference for each pair of runs, given as (a, b, values of b less those of a).

    Holm's correction is over the pairs. Pairs over as many questions share their resamples.
    """
    found: dict[int, tuple[Mean, float]] = {}
    for count in {len(values) for _, _, values in pairs}:
        places = [place for place, pair in enumerate(pairs) if len(pair[2]) == count]
        columns = np.stack([pairs[place][2] for place in places], axis=1)
        p_values = randomisation_test(columns) if count else [1.0] * len(places)
        for place, mean, p in zip(places, means(columns), p_values, strict=True):
            found[place] = mean, p
    adjusted = holm([found[place][1] for place in range(len(pairs))])
    return [
        Difference(
            a=a,
            b=b,
            metric=metric,
            mean=found[place][0],
            p=found[place][1],
            adjusted_p=adjusted[place],
            wins=int((values > 0).sum()),
            ties=int((values == 0).sum()),
            losses=int((values < 0).sum()),
            detectable=detectable(values),
        )
        for place, (a, b, values) in enumerate(pairs)
    ]


def _exact_p(differences: Values) -> float:
    """Return the share of all sign changes that are at least as extreme."""
    count = len(differences)
    signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    observed = abs(differences.sum())
    return float((np.abs(signs @ differences) >= observed - _slack(observed)).mean())


def _slack(observed: Values | float) -> Values | float:
    """Return what rounding may take from a sum that is equal to the observed one."""
    return 1e-9 * (1 + observed)


def _counts(rng: np.random.Generator, count: int, rows: int) -> Values:
    """Return how often each of `count` questions is in each of `rows` bootstrap samples."""
    drawn = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _blocks(count: int) -> Iterator[int]:
    """Yield numbers of resamples that add up to RESAMPLES, each block small enough for memory."""
    size = max(1, BLOCK // count)
    done = 0
    while done < RESAMPLES:
        yield min(size, RESAMPLES - done)
        done += size
