"""Normalisations on the device beside those of the evaluation, and gating by class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsss_core import evaluate
from wsss_core.cams import gate, normalise_maps, predicted_classes
from wsss_core.errors import InputError


@given(
    arrays(np.float32, (2, 3, 4), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(["max", "min_max"]),
)
def test_it_is_the_normalisation_of_the_evaluation(maps, how):
    found = normalise_maps(torch.from_numpy(maps), how).numpy()
    np.testing.assert_allclose(found, evaluate.normalise(maps, how), rtol=1e-6, atol=1e-7)


def test_raw_scores_stay_as_they_are():
    maps = torch.tensor([[[-3.0, 5.0]]])
    assert torch.equal(normalise_maps(maps, "raw"), maps)


@pytest.mark.parametrize("how", ["max", "min_max"])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_score_is_not_hidden(how, broken):
    maps = torch.tensor([[[0.5, broken]], [[0.5, 1.0]]])
    found = normalise_maps(maps, how)
    assert found[0].isnan().any()
    assert found[1].isfinite().all()


def test_an_unknown_normalisation_is_an_error():
    with pytest.raises(InputError, match="'zscore': expected one of raw, max, min_max"):
        normalise_maps(torch.zeros(1, 2, 2), "zscore")


def test_gating_zeroes_the_maps_of_classes_that_are_not_kept():
    maps = torch.arange(1.0, 9.0).view(2, 2, 1, 2)
    labels = torch.tensor([[1, 0], [0, 1]])
    assert gate(maps, labels).flatten().tolist() == [1, 2, 0, 0, 0, 0, 7, 8]


def test_gating_zeroes_a_broken_map_too():
    maps = torch.full((1, 1, 1, 1), float("nan"))
    assert gate(maps, torch.tensor([[False]])).item() == 0


def test_a_class_is_predicted_from_its_probability_on():
    logits = torch.tensor([[-0.1, 0.0, 2.0]])
    assert predicted_classes(logits).tolist() == [[False, True, True]]
    assert predicted_classes(logits, 0.8).tolist() == [[False, False, True]]  # sigmoid(2) = 0.88


def test_gating_by_labels_of_another_shape_is_an_error():
    with pytest.raises(InputError, match=r"expected the shape \[2, 3\].*got \[3, 2\]"):
        gate(torch.zeros(2, 3, 1, 1), torch.ones(3, 2))
