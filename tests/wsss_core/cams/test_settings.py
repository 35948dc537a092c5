"""CAM settings: what is accepted, and what they say of the maps they give."""

import json

import pytest

from wsss_core.cams import CamSettings
from wsss_core.errors import InputError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "score_cam"}, "'score_cam': expected one of class_weight, grad_cam"),
        ({"merge": "mean"}, "'mean': expected one of normalised_mean, sum_max"),
        ({"scales": ()}, "scales .*at least one"),
        ({"scales": (1.0, 0)}, "positive numbers, got 0"),
        ({"scales": (float("inf"),)}, "positive numbers, got inf"),
        ({"scales": ("1",)}, "positive numbers, got '1'"),
        ({"scales": 2.0}, "scales 2.0: expected a list"),
        ({"method": "grad_cam", "layers": "layer4"}, "layers 'layer4': expected a list"),
        ({"method": "grad_cam", "layers": (1.5,)}, "names or numbers, got 1.5"),
        ({"flip": 1}, "flip 1: expected true or false"),
        ({"layers": (-1,)}, "method class_weight has no choice of layers"),
        ({"method": "attention", "layers": (-1,)}, "method attention has no choice of layers"),
    ],
)
def test_a_bad_value_is_an_error_that_names_it(given, said):
    with pytest.raises(InputError, match=said):
        CamSettings(**given)


@pytest.mark.parametrize(
    ("given", "normalised"),
    [
        ({}, False),
        ({"scales": (2.0,)}, False),
        ({"method": "grad_cam", "layers": (-2,)}, False),
        ({"method": "grad_cam", "layers": (-2, -1)}, True),
        ({"scales": (1.0, 2.0)}, True),
        ({"flip": True}, True),
    ],
)
def test_maps_are_normalised_where_several_become_one(given, normalised):
    assert CamSettings(**given).normalised is normalised


def test_a_configuration_gives_the_settings_back():
    settings = CamSettings("layer_cam", ("layer3", -1), (0.5, 2), True, "sum_max")
    config = json.loads(json.dumps(settings.as_config()))
    assert CamSettings(**config) == settings
    assert config == {
        "method": "layer_cam",
        "layers": ["layer3", -1],
        "scales": [0.5, 2.0],
        "flip": True,
        "merge": "sum_max",
    }


def test_the_last_layer_is_meant_where_none_is_named():
    assert CamSettings("grad_cam") == CamSettings("grad_cam", layers=[-1])
