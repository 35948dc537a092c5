"""The mixture against scikit-learn on the pixels themselves, its crossing against bisection."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from wsss_core.errors import InputError
from wsss_core.evaluate import (
    GaussianMixture,
    fit_gaussian_mixture,
    gaussian_mixture_level,
    otsu_level,
)
from wsss_core.evaluate.unsupervised import LEVEL_VARIANCE

reference = pytest.importorskip("sklearn.mixture")

# Shares, means and deviations of the two humps that scores are drawn from.
HUMPS = {
    "apart": ((0.7, 50, 12), (0.3, 180, 20)),
    "overlapping": ((0.6, 70, 25), (0.4, 140, 25)),
    "a small bright one": ((0.97, 40, 15), (0.03, 200, 10)),
    "a narrow one and a broad one": ((0.5, 20, 2), (0.5, 120, 45)),
    "equally broad": ((0.5, 90, 20), (0.5, 170, 20)),
}


def drawn(name, count=4000):
    generator = np.random.default_rng(5)
    scores = np.concatenate(
        [generator.normal(mean, spread, int(share * count)) for share, mean, spread in HUMPS[name]]
    )
    return np.clip(np.rint(scores), 0, 255).astype(int)


def fitted_by_sklearn(scores):
    """The fit on every pixel, from the same two sides and with the same least variance."""
    start = otsu_level(np.bincount(scores, minlength=256))
    sides = [scores[scores < start], scores[scores >= start]]
    mixture = reference.GaussianMixture(
        2,
        covariance_type="spherical",
        tol=1e-12,
        max_iter=5000,
        reg_covar=LEVEL_VARIANCE,
        weights_init=[len(side) / len(scores) for side in sides],
        means_init=[[side.mean()] for side in sides],
        precisions_init=[1 / (side.var() + LEVEL_VARIANCE) for side in sides],
    ).fit(scores[:, np.newaxis].astype(float))
    order = np.argsort(mixture.means_[:, 0])
    return mixture.weights_[order], mixture.means_[order, 0], mixture.covariances_[order]


@pytest.mark.parametrize("name", HUMPS)
def test_the_fit_is_that_on_every_pixel_to_a_fiftieth_of_a_level(name):
    scores = drawn(name)
    found = fit_gaussian_mixture(np.bincount(scores, minlength=256))
    weights, means, variances = fitted_by_sklearn(scores)

    assert found.weights == pytest.approx(weights, abs=1e-4)
    assert found.means == pytest.approx(means, abs=0.02)
    assert np.sqrt(found.variances) == pytest.approx(np.sqrt(variances), abs=0.02)


@pytest.mark.parametrize("name", HUMPS)
def test_the_level_is_the_first_at_or_beyond_the_crossing_of_the_reference_s_densities(name):
    scores = drawn(name)
    weights, means, variances = fitted_by_sklearn(scores)

    def lead(at):
        lower, upper = weights * norm.pdf(at, means, np.sqrt(variances))
        return upper - lower

    crossing = brentq(lead, *means)
    assert abs(crossing - round(crossing)) > 0.02, "too near a level for the tolerance of the fit"
    assert gaussian_mixture_level(np.bincount(scores, minlength=256)) == int(np.ceil(crossing))


@pytest.mark.parametrize(
    "mixture",
    [
        GaussianMixture((0.5, 0.5), (50.0, 150.0), (100.0, 100.0)),
        GaussianMixture((0.9, 0.1), (50.0, 150.0), (100.0, 400.0)),
        GaussianMixture((0.2, 0.8), (50.0, 90.0), (900.0, 4.0)),
        GaussianMixture((0.5, 0.5), (10.0, 11.0), (LEVEL_VARIANCE, LEVEL_VARIANCE)),
        GaussianMixture((0.5, 0.5), (50.0, 150.0), (100.0, 100.0 + 1e-9)),
    ],
)
def test_at_the_crossing_both_weighted_densities_are_equal(mixture):
    at = mixture.crossing()
    lower, upper = np.array(mixture.weights) * norm.pdf(
        at, mixture.means, np.sqrt(mixture.variances)
    )
    assert mixture.means[0] < at < mixture.means[1]
    assert lower == pytest.approx(upper, rel=1e-6)


@pytest.mark.parametrize(
    "mixture",
    [
        GaussianMixture((0.99, 0.01), (100.0, 105.0), (400.0, 400.0)),
        GaussianMixture((0.01, 0.99), (100.0, 105.0), (400.0, 400.0)),
    ],
)
def test_a_gaussian_that_covers_the_other_s_mean_is_never_crossed(mixture):
    assert mixture.crossing() is None


@pytest.mark.parametrize("level", [0, 100, 255])
def test_scores_of_one_level_or_none_have_no_threshold(level):
    counts = np.zeros(256, dtype=int)
    assert gaussian_mixture_level(counts) is None
    counts[level] = 10**9
    assert fit_gaussian_mixture(counts) is None
    assert gaussian_mixture_level(counts) is None


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (254, 255), (100, 140)])
def test_two_levels_are_parted_half_way_with_equal_counts(low, high):
    counts = np.zeros(256, dtype=int)
    counts[[low, high]] = 500
    assert gaussian_mixture_level(counts) == int(np.ceil((low + high) / 2))


def test_the_level_depends_on_shares_alone_and_not_on_the_number_of_pixels():
    counts = np.bincount(drawn("overlapping"), minlength=256)
    assert gaussian_mixture_level(counts * 10**9) == gaussian_mixture_level(counts)


def test_what_cannot_be_pixel_counts_is_refused():
    with pytest.raises(InputError, match=r"^scores: expected whole counts \[256\]"):
        gaussian_mixture_level(np.full(256, 0.5))
