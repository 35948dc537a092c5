"""Options of a backbone that a study cannot give are refused by name, before it is built."""

from typing import Any

import pytest

from wsss_core.backbones import build_network
from wsss_core.backbones.names import OUR_OPTIONS, check_options
from wsss_core.errors import InputError

VIT = "vit_tiny_patch16_224"


@pytest.mark.parametrize("option", OUR_OPTIONS)
def test_an_option_that_is_set_elsewhere_is_refused_by_name(option: str) -> None:
    with pytest.raises(InputError, match=f"^option '{option}' cannot be given: "):
        check_options(VIT, {option: True})


def test_a_plugin_gets_classes_and_size_from_the_study_and_any_other_option() -> None:
    with pytest.raises(InputError, match="option 'image_size' cannot be given"):
        check_options("own:network", {"image_size": 64})
    check_options("own:network", {"checkpoint_path": "w.pth", "depth": 10**6})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 1_000_000}, "option 'depth': expected at most 1000 blocks"),
        ({"layers": [400, 400, 400]}, "option 'layers': expected at most 1000 blocks"),
        ({"embed_dim": 10**9}, "option 'embed_dim': expected at most 65536"),
        ({"num_heads": 0}, "option 'num_heads': expected 1 or more, got 0"),
        ({"patch_size": 0}, "option 'patch_size': expected 1 or more, got 0"),
        ({"channels": [4, 0]}, r"option 'channels': expected 1 or more, got \[4, 0\]"),
        ({"mlp_ratio": float("nan")}, "option 'mlp_ratio': expected finite numbers"),
        ({"depth:4": None}, "option 'depth:4' has no value"),
    ],
)
def test_numbers_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        check_options(VIT, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (VIT, {"num_heads": 5}),
        (VIT, {"patch_size": [16]}),
        (VIT, {"norm_layer": "none of this name"}),
        (VIT, {"img_sice": 3}),
        ("resnet18", {"block": "x"}),
        ("resnet18", {"channels": [1]}),
    ],
)
def test_whatever_timm_raises_is_one_line(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^timm cannot build '{name}' with {{") as caught:
        build_network(name, classes=1, image_size=32, options=options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (VIT, {"embed_dim": 60_000, "depth": 900, "num_heads": 3}),
        (VIT, {"mlp_ratio": 1e30}),
        ("resnet18", {"layers": [1, 1, 1, 900], "channels": [60_000] * 4}),
    ],
)
def test_a_network_too_large_for_any_machine_is_refused_before_its_memory_is_taken(
    name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"{name}: more than 20000 tensors or 1e\\+10 numbers"):
        build_network(name, classes=1, image_size=32, options=options)
