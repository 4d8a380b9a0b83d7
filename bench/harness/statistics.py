"""Medians, paired ratios and how sure they are."""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Median, minimum and maximum of some values."""

    median: float
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class Ratio:
    """The median of ratios within a round, and the 95 % interval of that median; no interval where
    there are too few rounds for one."""

    median: float
    low: float | None
    high: float | None
    count: int


def summary(values: list[float]) -> Summary | None:
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


def interval_rank(count: int) -> int | None:
    """The largest k for which the k-th smallest and the k-th largest of so many values enclose
    their distribution's median with a probability of 95 % or more, by the binomial distribution;
    None below six values, whose extremes do not."""
    outside, rank = 0.0, None
    for k in range(1, count // 2 + 1):
        outside += 2 * math.comb(count, k - 1) / 2 ** count
        if outside > 0.05:
            break
        rank = k
    return rank


def paired_ratio(ours: list[float | None], theirs: list[float | None]) -> Ratio | None:
    """Of the rounds in which both were measured, in their order."""
    ratios = sorted(a / b for a, b in zip(ours, theirs) if a is not None and b)
    if not ratios:
        return None
    rank = interval_rank(len(ratios))
    low, high = (None, None) if rank is None else (ratios[rank - 1], ratios[-rank])
    return Ratio(statistics.median(ratios), low, high, len(ratios))


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(math.log(each) for each in values) / len(values))
