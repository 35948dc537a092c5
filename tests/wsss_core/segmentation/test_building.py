import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.segmentation import (
    FitSettings,
    Segmenter,
    SegmenterSettings,
    build_segmenter,
    check_segmenter,
    try_segmenter,
)

PLUGIN = """
from torch import nn

VERSION = 3


class Tiny(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Conv2d(width, classes + 1, 1)

    def forward(self, images):
        maps = self.body(images)
        return (self.head(maps), [self.head(maps)]) if self.training else self.head(maps)

    def head_parameters(self):
        return self.head.parameters()


def tiny(*, classes, image_size, width=4):
    return Tiny(classes, width)


def too_small(*, classes, image_size):
    return nn.Conv2d(3, classes + 1, 3)


def no_module(*, classes, image_size):
    return len


class Broken(Tiny):
    def forward(self, images):
        return super().forward(images)[0] / 0


def broken(*, classes, image_size):
    return Broken(classes, 4)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "my_segmenters.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name, **options: SegmenterSettings(f"my_segmenters:{name}", options=options)


def test_a_plugin_is_a_segmenter(plugin):
    segmenter = build_segmenter(plugin("tiny", width=6), classes=2, image_size=20)
    assert isinstance(segmenter, Segmenter)
    assert segmenter(torch.rand(1, 3, 20, 24)).shape == (1, 3, 20, 24)
    assert len(segmenter.train().with_auxiliary(torch.rand(1, 3, 20, 20)).auxiliary) == 1
    assert len(list(segmenter.head_parameters())) == 2
    assert len(list(segmenter.encoder_parameters())) == 2
    check_segmenter(plugin("tiny"), classes=2, image_size=20)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("too_small", {}, r"gives logits \[2, 3, 18, 18\], expected \[2, 3, 20, 20\]"),
        ("no_module", {}, "expected an nn.Module, got a builtin_function_or_method"),
        ("tiny", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("broken", {}, "logits of random images are not finite"),
        ("absent", {}, "has no 'absent'"),
    ],
)
def test_a_plugin_that_does_not_fit_is_refused_in_a_line(plugin, name, options, said):
    with pytest.raises(InputError, match=said) as caught:
        check_segmenter(plugin(name, **options), classes=2, image_size=20)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "unett", "encoder": "resnet18"}, "'unett' is unknown; did you mean unet?"),
        ({"model": "unet"}, "segmenter unet needs an encoder"),
        ({"model": "sam", "encoder": "resnet18"}, "segmenter sam has its own encoder"),
        ({"model": "my:own", "encoder": "resnet18"}, "has its own encoder"),
    ],
)
def test_settings_that_name_no_segmenter_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        SegmenterSettings(**given)


@pytest.mark.parametrize(("classes", "size"), [(0, 16), (1, 0), (True, 16)])
def test_numbers_out_of_range_are_refused(plugin, classes, size):
    with pytest.raises(InputError, match="expected 1 or more"):
        build_segmenter(plugin("tiny"), classes=classes, image_size=size)


def test_a_pass_that_fails_says_at_which_size(setr):
    segmenter = setr()

    def fail(*given):
        raise RuntimeError("no kernel\nfor this")

    segmenter.head.register_forward_hook(fail)
    with pytest.raises(InputError, match=r"cannot take images of 16 px: .*no kernel for this"):
        try_segmenter(segmenter, 16)


def test_gradients_that_are_not_finite_are_refused(setr):
    segmenter = setr(auxiliary=False)
    segmenter.head.classifier.weight.register_hook(lambda grad: grad / 0)
    with pytest.raises(InputError, match=r"gradients of head\.classifier\.weight are not"):
        try_segmenter(segmenter, 16)


def test_a_check_leaves_random_numbers_as_they_were(plugin):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_segmenter(plugin("tiny"), classes=1, image_size=16)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 0}, "steps is 0; expected 1 or more"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; expected one of sgd, adamw"),
        ({"schedule": "step"}, "schedule"),
        ({"momentum": 1.0}, "momentum"),
        ({"warmup": 1.0}, "warmup"),
        ({"precision": "fp16"}, "precision"),
    ],
)
def test_settings_of_training_out_of_range_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        FitSettings(**given)


def test_the_rate_follows_the_polynomial_after_the_warm_up():
    settings = FitSettings(steps=10, learning_rate=2.0, power=0.9, warmup=0.2)
    assert [settings.rate(step) for step in (0, 1)] == [1.0, 2.0]
    assert settings.rate(2) == 2.0
    assert settings.rate(6) == pytest.approx(2 * 0.5**0.9)
    cosine = FitSettings(steps=10, learning_rate=2.0, schedule="cosine")
    assert cosine.rate(5) == pytest.approx(1.0)
    assert FitSettings(learning_rate=2.0, schedule="constant").rate(999) == 2.0
