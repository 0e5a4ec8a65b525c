"""The statistics, on numbers whose answers are known."""

import math

import numpy as np
import pytest

from benchmarks.problem import Size, flops, parse_size
from benchmarks.reference import worst_error
from benchmarks.statistics import fit_power, geometric_mean, speedup, summary
from benchmarks.timing import interleave


def test_summary_is_robust_and_in_milliseconds():
    found = summary([0.001, 0.002, 0.003, 0.004, 9.0])
    assert found == pytest.approx((3.0, 1.0, 2.0, 4.0, 5))


def test_speedup_pairs_the_rounds():
    assert speedup([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == 2.0


def test_geometric_mean_of_twice_and_half_is_one():
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert math.isnan(geometric_mean([]))


def test_a_power_is_recovered_from_its_larger_half():
    x = [2.0**k for k in range(8)]
    y = [max(1.0, 1e-3 * v**1.5) if v < 16 else 3.0 * v**1.5 for v in x]
    fit = fit_power(x, y)
    assert (fit.exponent, fit.factor, fit.points) == pytest.approx((1.5, 3.0, 4))


def test_a_fit_leaves_out_what_is_not_a_number():
    assert fit_power([1, 2, 4, 8], [1, math.nan, 4, 8]).exponent == pytest.approx(1.0)
    assert math.isnan(fit_power([1.0], [1.0]).exponent)


def test_interleaving_gives_every_program_every_round():
    order = []
    times = interleave({name: lambda name=name: order.append(name) for name in "ab"}, budget=0)
    assert [len(times[name]) for name in "ab"] == [5, 5]
    assert order == ["a", "b", *"aabb" * 5]  # each once before, then an untimed and a timed call


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"y": np.array([1.0, 2.2])}, 0.1),
        ({"y": np.array([1.0, np.nan])}, np.inf),
        ({"y": np.array([1.0])}, np.inf),
        ({"z": np.array([1.0, 2.0])}, np.inf),
        ({}, np.inf),
    ],
)
def test_error_is_relative_to_the_largest_and_never_nan(found, expected):
    assert worst_error(found, {"y": np.array([1.0, 2.0])})[0] == pytest.approx(expected)


def test_flops_count_both_products_of_every_layer_and_direction():
    assert flops("lstm", Size(10, 2, 3, 5), "forward") == 10 * 2 * 2 * (3 + 5) * 4 * 5
    assert flops("rnn", Size(10, 2, 3, 5), "train") == 3 * 10 * 2 * 2 * (3 + 5) * 5
    assert flops("rnn", Size(10, 2, 3, 5, "layers2"), "forward") == 400 * (3 + 5 + 5 + 5) / 2
    assert flops("rnn", Size(10, 2, 3, 5, "bidirectional"), "forward") == 400 * 2 * (3 + 5) / 2
    assert flops("rnn", Size(8, 2, 3, 5, "ragged"), "forward") == (8 + 2) * 2 * (3 + 5) * 5


def test_a_size_reads_as_it_is_written():
    assert str(parse_size("5,2,3,4:ragged")) == "5,2,3,4:ragged"
    for wrong in ("5,2,3", "5,2,3,0", "5,2,3,x", "5,2,3,4:deep"):
        with pytest.raises(ValueError, match=r"size|at least"):
            parse_size(wrong)
