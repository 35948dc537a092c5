"""Rows that are fused of others in a study file: their names, and errors in a line."""

from typing import Any

import pytest

from studies.spec.loading import load_study
from studies.spec.study import Study
from wsss_core.errors import InputError

Raw = dict[str, Any]


def names(study: Raw) -> list[str]:
    return [name for name, _ in Study.model_validate(study).named_configurations()]


def test_a_list_of_fusions_is_multiplied_out_and_named_by_its_networks(tiny: Raw) -> None:
    tiny["seeds"] = [0, 1]
    tiny["configurations"] += [
        {"fuse": {"of": ["vit", "CNN alone"], "how": ["mean", "OR", "and"]}},
        {"fuse": {"of": "vit", "how": "soup", "seeds": 2}},
        {"name": "both", "fuse": {"of": ["vit", "cnn"], "how": "product"}},
        {"name": "sure", "fuse": {"of": ["vit", "cnn"], "how": "mean", "scores": "probabilities"}},
    ]
    assert names(tiny)[4:] == [
        "mean of ViT alone + CNN alone",
        "OR of ViT alone + CNN alone",
        "AND of ViT alone + CNN alone",
        "weight soup of 2 seeds of ViT alone",
        "both",
        "sure",
    ]


def test_controls_stand_beside_every_pair_that_is_aligned(tiny: Raw) -> None:
    assert names({**tiny, "controls": False}) == names(tiny)
    assert names({**tiny, "controls": True})[4:] == ["mean of ViT alone + CNN alone"]
    tiny["controls"] = ["product", "or"]
    tiny["configurations"].append({"fuse": {"of": ["ViT alone", "CNN alone"], "how": "or"}})
    assert names(tiny)[4:] == ["OR of ViT alone + CNN alone", "product of ViT alone + CNN alone"]


def test_a_control_takes_the_row_that_was_trained_as_the_taught_student(tiny: Raw) -> None:
    tiny["controls"] = True
    longer = {"training": {"epochs": 2}}
    tiny["configurations"][2] |= longer
    tiny["configurations"].append({"paradigm": "single", "student": "vit", "name": "ViT longer"})
    tiny["configurations"][-1] |= longer
    fused = names(tiny)[5:]
    assert fused == ["mean of ViT longer + CNN alone", "mean of ViT alone + CNN alone"]


def test_a_study_with_fused_rows_is_read_again_as_it_was(tiny: Raw) -> None:
    tiny["seeds"] = [0, 1]
    tiny["configurations"].append({"fuse": {"of": "vit", "seeds": 2, "how": ["mean", "soup"]}})
    study = Study.model_validate(tiny)
    again = load_study(study, {"training.epochs": 3})
    assert [name for name, _ in again.named_configurations()] == names(tiny)


@pytest.mark.parametrize(
    ("fuse", "said"),
    [
        ({"of": ["vti", "cnn"], "how": "mean"}, "'vti' is neither a row nor a backbone of this"),
        ({"of": ["vit", "me"], "how": "mean"}, "'me' is itself fused; name the rows that it is"),
        ({"of": ["vit", "vit"], "how": "mean"}, "of: 'vit' is named twice"),
        ({"of": "vit", "how": "mean"}, "expected two networks or more: name several in 'of', or"),
        ({"of": "vit", "how": "mean", "seeds": 3}, "seeds 3, the study has 1"),
        ({"of": ["vit", "cnn"], "how": "soup"}, "the networks of 'vit' and 'cnn' differ"),
        ({"of": ["vit", "cnn"], "how": "xor"}, "expected 'mean', 'product', 'minimum', 'or'"),
        ({"of": ["vit", "cnn"]}, "configurations[4].fuse.how: missing"),
        ({"of": ["vit", "cnn"], "how": "mean", "weights": 2}, "unknown key 'weights'"),
    ],
)
def test_bad_fusions_are_errors_in_a_line(tiny: Raw, fuse: Raw, said: str) -> None:
    tiny["configurations"].append({"name": "me", "fuse": fuse})
    with pytest.raises(InputError) as error:
        load_study(tiny)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["paradigm", "student", "teacher", "training", "lambda"])
def test_a_fused_row_takes_no_key_of_training(tiny: Raw, key: str) -> None:
    value = {"training": {"epochs": 2}, "lambda": 2.0}.get(key, "vit")
    tiny["configurations"].append({"fuse": {"of": ["vit", "cnn"], "how": "mean"}, key: value})
    with pytest.raises(InputError, match=f"an entry with 'fuse' takes no '{key}'"):
        load_study(tiny)


def test_the_paradigm_of_fused_rows_is_not_written(tiny: Raw) -> None:
    tiny["configurations"].append({"paradigm": "fused", "student": "vit"})
    with pytest.raises(InputError, match="paradigm 'fused' needs 'fuse'"):
        load_study(tiny)


def test_pseudo_masks_are_made_of_rows_with_a_network_of_their_own(tiny: Raw) -> None:
    tiny["configurations"].append({"name": "both", "fuse": {"of": ["vit", "cnn"], "how": "mean"}})
    ours = {"model": {"model": "unet", "encoder": "resnet18"}, "labels": {"configuration": "both"}}
    tiny["segment"] = {"entries": {"ours": ours}}
    with pytest.raises(
        InputError, match=r"labels.configuration 'both' is no configuration of this"
    ):
        load_study(tiny)


def test_a_published_figure_of_a_chain_names_a_row_of_the_study(tiny: Raw) -> None:
    tiny["chains"] = {"CRF": {"steps": ["crf"], "published": {"best": 50, "of": "ViT alon"}}}
    with pytest.raises(InputError, match="of 'ViT alon' is no row of this study; nearest: 'ViT"):
        load_study(tiny)
