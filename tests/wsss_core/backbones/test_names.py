"""Names of backbones, read from timm's source, against what timm itself says."""

import subprocess
import sys

import pytest
import timm

from wsss_core.backbones.names import (
    OWN_MODELS,
    check_backbone_name,
    has_patch_tokens,
    is_vit,
    timm_deprecated_models,
    timm_models,
    timm_tags,
)
from wsss_core.errors import InputError


def test_the_names_are_those_that_timm_lists():
    assert set(timm_models()) == set(timm.list_models()) - set(OWN_MODELS)


def test_a_model_is_of_the_module_that_timm_says():
    for name, module in timm_models().items():
        assert timm.model_entrypoint(name).__module__ == f"timm.models.{module}"


def test_plain_vits_are_told_by_their_module():
    modules = {"vision_transformer", "deit", "eva", "beit"}
    for name in timm.list_models(include_tags=True):
        module = timm.model_entrypoint(name).__module__.rsplit(".", 1)[-1]
        assert has_patch_tokens(name) == (module in modules), name


@pytest.mark.parametrize(
    "name",
    [
        *("vit_tiny_patch16_224", "vit_relpos_small_patch16_224", "vit_tiny_r_s16_p8_224"),
        *("samvit_base_patch16_224", "cait_xxs24_224", "convit_tiny", "vitamin_small_224"),
        *("naflexvit_base_patch16_gap", "deepseek_vit_412m", "qwen3_vit_88m", "gemma4_vit_167m"),
        *("tnt_s_patch16_224", "xcit_nano_12_p8_224", "crossvit_tiny_240"),
    ],
)
def test_every_plain_transformer_is_a_vit(name):
    assert is_vit(name)


@pytest.mark.parametrize(
    "name", ["resnet18", "swin_tiny_patch4_window7_224", "pvt_v2_b0", "gmlp_s16_224", "coat_tiny"]
)
def test_a_network_whose_grid_shrinks_or_that_never_attends_is_no_vit(name):
    assert not is_vit(name)


def test_every_tag_that_timm_lists_is_known_and_no_other_is_read_from_its_source():
    listed = {name for name in timm.list_models(include_tags=True) if "." in name}
    read = {f"{name}.{tag}" for name in timm_models() for tag in timm_tags(name)}
    assert read <= listed
    assert len(read) > 0.9 * len(listed)
    for name in listed - read:
        check_backbone_name(name)


def test_the_deprecated_names_are_those_that_timm_knows():
    known = timm.models._registry._module_to_deprecated_models
    expected = {name: module for module, names in known.items() for name in names}
    assert timm_deprecated_models() == expected


@pytest.mark.parametrize("name", ["resnet81", "resnet18.a1_in1k", "tv_resnet34"])
def test_no_name_loads_timm_which_takes_seconds(name):
    script = (
        "import sys\nfrom wsss_core.backbones.names import check_backbone_name, is_vit\n"
        f"try:\n    check_backbone_name({name!r})\n    is_vit({name!r})\n"
        "except ValueError as error:\n    assert type(error).__name__ == 'InputError', error\n"
        "print(sorted({'timm', 'torch'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_deprecated_name_and_one_with_a_tag_are_known():
    check_backbone_name("vit_tiny_patch16_224_in21k")
    check_backbone_name("resnet18.a1_in1k")
    assert not is_vit("gluon_resnet18_v1b")


def test_a_model_that_somebody_registered_is_known(monkeypatch):
    def my_network(**settings):
        raise NotImplementedError

    my_network.__module__ = "my_models"
    monkeypatch.setitem(timm.models._registry._model_entrypoints, "my_network", my_network)
    check_backbone_name("my_network")
    assert not is_vit("my_network")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet81", "has no model 'resnet81'; nearest: resnet18"),
        ("resnet18.zz", r"^Invalid pretrained tag \(zz\) for resnet18; expected one of a1_in1k, "),
        ("tv_resnet43", "has no model 'tv_resnet43'; nearest: "),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_and_so_is_an_unknown_tag(name, said):
    with pytest.raises(InputError, match=said):
        check_backbone_name(name)
