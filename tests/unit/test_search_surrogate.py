"""What a surrogate model is shown of costs."""

from __future__ import annotations

import numpy as np

from kerasweep.search.surrogate import spread_out, standardised


def test_costs_are_standardised() -> None:
    costs = standardised([3.0, 1.0, 2.0, 5.0])
    np.testing.assert_allclose([costs.mean(), costs.std()], [0.0, 1.0], atol=1e-12)
    assert np.argsort(costs).tolist() == [1, 2, 0, 3]


def test_outliers_on_the_bad_side_count_as_the_fence() -> None:
    costs = standardised([1.0, 2.0, 3.0, 4.0, 1e30])
    # The quartiles are 2 and 4, so that the fence is at 7.
    np.testing.assert_allclose((costs - costs[0]) / (costs[1] - costs[0]), [0, 1, 2, 3, 6], rtol=1e-9)
    costs = standardised([1.0, 2.0, 3.0, 4.0, -1e3])
    assert costs[4] < -1.9


def test_equal_costs_and_the_largest_ones_are_no_obstacle() -> None:
    assert standardised([4.0, 4.0]).tolist() == [0.0, 0.0]
    assert standardised([0.0]).tolist() == [0.0]
    np.testing.assert_allclose(standardised([-1.7e308, 1.7e308]), [-1.0, 1.0])


def test_a_few_costs_are_spread_over_all() -> None:
    costs = np.random.default_rng(0).permutation(100).astype(float)
    assert np.sort(costs[spread_out(costs, 5)]).tolist() == [0.0, 25.0, 50.0, 74.0, 99.0]
    assert sorted(spread_out(costs, 100)) == sorted(spread_out(costs, 1000)) == list(range(100))
