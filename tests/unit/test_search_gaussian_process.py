"""Our Gaussian process beside scikit-learn's, and what it adds to it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from kerasweep.search.gaussian_process import Field, GaussianProcess, Prior, expected_improvement, matern52

RNG = np.random.default_rng(0)
X = RNG.random((30, 3))
Y = np.sin(5 * X[:, :1]) + X[:, 1:2] ** 2 + 0.1 * RNG.standard_normal((30, 1))
PLACES = RNG.random((7, 3))
PRIOR = Prior(mean=0.3, amplitude=1.7, noise=0.02, lengths=np.array([0.3, 0.8, 2.0]))


def sklearns(x: NDArray[np.float64], y: NDArray[np.float64]) -> GaussianProcessRegressor:
    kernel = ConstantKernel(PRIOR.amplitude) * Matern(PRIOR.lengths, nu=2.5)
    return GaussianProcessRegressor(kernel, alpha=PRIOR.nugget, optimizer=None).fit(x, y - PRIOR.mean)


def test_the_kernel_is_scikit_learns() -> None:
    distances = np.linspace(0, 4, 9)
    expected = Matern(1.0, nu=2.5)(np.zeros((1, 1)), distances[:, None])[0]
    np.testing.assert_allclose(matern52(distances), expected, rtol=1e-12)


def test_it_predicts_what_scikit_learns_does() -> None:
    model = sklearns(X, Y[:, 0])
    expected, covariance = model.predict(PLACES, return_cov=True)
    mean, variance = GaussianProcess(PRIOR, X, Y).predict(PLACES)
    np.testing.assert_allclose(mean[:, 0], expected + PRIOR.mean, atol=1e-9)
    np.testing.assert_allclose(variance, np.diag(covariance), atol=1e-9)


def test_its_log_likelihood_is_scikit_learns() -> None:
    both = np.hstack([Y, -Y])
    expected = [sklearns(X, column).log_marginal_likelihood() for column in both.T]
    np.testing.assert_allclose(GaussianProcess(PRIOR, X, both).log_likelihood(), expected, rtol=1e-10)


def test_appended_observations_count_as_if_known_from_the_start() -> None:
    whole, grown = GaussianProcess(PRIOR, X, Y), GaussianProcess(PRIOR, X[:20], Y[:20])
    grown.append(X[20:21], Y[20:21])
    grown.append(X[21:], Y[21:])
    np.testing.assert_allclose(grown.factor, whole.factor, atol=1e-10)
    np.testing.assert_allclose(grown.predict(PLACES)[0], whole.predict(PLACES)[0], atol=1e-9)
    np.testing.assert_allclose(grown.log_likelihood(), whole.log_likelihood(), rtol=1e-9)


def test_what_it_imagines_has_the_joint_distribution_of_observations() -> None:
    expected, covariance = sklearns(X, Y[:, 0]).predict(PLACES, return_cov=True)
    unmoved = GaussianProcess(PRIOR, X, Y).imagine(PLACES, np.zeros((7, 1)))
    np.testing.assert_allclose(unmoved[:, 0], expected + PRIOR.mean, atol=1e-9)
    root = GaussianProcess(PRIOR, X, Y).imagine(PLACES, np.eye(7)) - unmoved
    np.testing.assert_allclose(root @ root.T, covariance + PRIOR.nugget * np.eye(7), atol=1e-9)


def test_what_it_imagined_counts_as_observed() -> None:
    process = GaussianProcess(PRIOR, X, Y)
    first = process.imagine(PLACES[:4], RNG.standard_normal((4, 5)))
    second = process.imagine(PLACES[4:], RNG.standard_normal((3, 5)))
    told = GaussianProcess(PRIOR, X, np.repeat(Y, 5, axis=1))
    told.append(PLACES, np.vstack([first, second]))
    elsewhere = RNG.random((6, 3))
    for imagined, expected in zip(process.predict(elsewhere), told.predict(elsewhere), strict=True):
        np.testing.assert_allclose(imagined, expected, atol=1e-9)


def test_a_field_follows_its_process() -> None:
    process = GaussianProcess(PRIOR, X[:10], Y[:10])
    field = Field(process, PLACES)
    for step in range(10, 30, 5):
        np.testing.assert_allclose(field.predict()[0], process.predict(PLACES)[0], atol=1e-10)
        np.testing.assert_allclose(field.predict()[1], process.predict(PLACES)[1], atol=1e-10)
        process.append(X[step : step + 5], Y[step : step + 5])
    process.imagine(X[:1] + 0.5, RNG.standard_normal((1, 4)))
    assert field.predict()[0].shape == (7, 4)
    np.testing.assert_allclose(field.predict()[0], process.predict(PLACES)[0], atol=1e-10)


def test_equal_rows_without_noise_are_no_obstacle() -> None:
    prior = Prior(0.0, 100.0, 0.0, np.full(3, 50.0))
    process = GaussianProcess(prior, np.repeat(X, 3, axis=0), np.repeat(Y, 3, axis=0))
    process.append(X, Y)
    process.imagine(X, np.zeros((30, 2)))
    mean, variance = process.predict(X)
    assert np.all(np.isfinite(mean))
    assert np.all(variance >= 0)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (2.0, 0.5), (-3.0, 0.1), (40.0, 1.0)])
def test_expected_improvement_is_its_integral(mean: float, deviation: float) -> None:
    best = 0.4
    low = mean - 12 * deviation
    integral, _ = quad(lambda y: (best - y) * norm.pdf(y, mean, deviation), low, max(best, low), epsabs=1e-12)
    received = expected_improvement(np.array([mean]), np.array([deviation]), np.array([best]))
    np.testing.assert_allclose(received, [integral], atol=1e-9)


def test_expected_improvement_without_doubt_is_the_improvement() -> None:
    received = expected_improvement(np.array([[1.0], [3.0], [2.0]]), np.zeros((3, 1)), np.array([2.0, 4.0]))
    np.testing.assert_array_equal(received, [[1.0, 3.0], [0.0, 1.0], [0.0, 2.0]])
