"""What a call of cams on any classifier takes, and what it leaves behind: nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsss_core.cams import CamSettings, cams
from wsss_core.errors import InputError

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), np.uint8)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
INPUT = torch.from_numpy((PICTURES / 255 - MEAN) / STD).float().permute(0, 3, 1, 2)
BY_US = {"mean": MEAN, "std": STD}


class Small(nn.Module):
    """Two convolutions and a linear layer; what `between` does with the first map can be chosen."""

    def __init__(self, between: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 4, stride=4)
        self.between = between or nn.Identity()
        self.second = nn.Conv2d(8, 6, 1)
        self.act = after or nn.ReLU()
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        found = self.between(self.first(images))
        while isinstance(found, list | tuple):
            found = found[0]
        return self.head(self.act(self.second(found)).mean((2, 3)))


def expected_at_first(model: Small, *, k: int = 1) -> np.ndarray:
    """Grad-CAM at the first convolution, by autograd alone."""
    activation = model.first(INPUT)
    logits = model.head(model.act(model.second(model.between(activation))).mean((2, 3)))
    (gradient,) = torch.autograd.grad(logits[:, k].sum(), activation)
    maps = torch.einsum("bchw,bc->bhw", activation, gradient.mean((2, 3))).relu()
    assert maps.max() > 0
    return maps.detach().numpy()


@pytest.mark.parametrize(
    "images",
    [
        PICTURES,
        PICTURES.transpose(0, 3, 1, 2),
        torch.from_numpy(PICTURES),
        torch.from_numpy(PICTURES).permute(0, 3, 1, 2),
        PICTURES / 255,
        list(PICTURES),
    ],
)
def test_pictures_of_any_layout_are_normalised_as_the_user_says(images):
    found = cams(Small(), images, classes="all", **BY_US)
    as_input = cams(Small(), INPUT, classes="all")
    np.testing.assert_allclose(found.logits, as_input.logits, atol=1e-5)
    np.testing.assert_allclose(found.maps, as_input.maps, atol=1e-6)
    assert found.image_size == (24, 32)


@pytest.mark.parametrize("image", [PICTURES[1], PICTURES[1].transpose(2, 0, 1), PICTURES[1] / 255])
def test_of_a_single_image_no_array_has_an_axis_for_images(image):
    found = cams(Small(), image, classes=[0, 2, 3], **BY_US)
    whole = cams(Small(), PICTURES, classes=[0, 2, 3], **BY_US)
    assert found.scores().shape == (3, 24, 32)
    assert found.classes.tolist() == [0, 2, 3]
    np.testing.assert_allclose(found.maps, whole.maps[1], atol=1e-6)
    np.testing.assert_allclose(found.logits, whole.logits[1], atol=1e-5)


def test_pictures_for_a_timm_model_are_normalised_as_its_configuration_says():
    model = Small()
    model.pretrained_cfg = {"mean": MEAN, "std": STD}
    np.testing.assert_allclose(cams(model, PICTURES).logits, cams(model, INPUT).logits, atol=1e-5)


def test_pictures_for_a_network_of_this_package_are_put_in_0_to_1(cnn):
    network, pictures = cnn(classes=2), PICTURES[:, :16, :16]
    found = cams(network, pictures, method="grad_cam")
    floats = torch.from_numpy(pictures / 255).float().permute(0, 3, 1, 2)
    scaled = cams(network, floats, method="grad_cam")
    np.testing.assert_allclose(found.logits, scaled.logits, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda x: (x, 1), lambda x: [[x]], lambda x: (x, x * 0)])
def test_a_layer_may_give_its_map_in_tuples_and_lists(wrap):
    class Wrapping(nn.Module):
        def forward(self, found: Tensor) -> object:
            return wrap(found)

    found = cams(Small(Wrapping()), INPUT, target_layer="between", classes=1)
    np.testing.assert_allclose(found.maps[:, 0], expected_at_first(Small()), atol=1e-7)


class Through(nn.Module):
    """Gives its map with channels last, or as tokens after a class token, and takes it back."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens, self.seen = tokens, nn.Sequential()

    def forward(self, found: Tensor) -> Tensor:
        if not self.tokens:
            return self.seen(found.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        flat = found.flatten(2).transpose(1, 2)
        flat = self.seen(torch.cat([flat[:, :1] * 3, flat], 1))
        return flat[:, 1:].transpose(1, 2).unflatten(2, found.shape[2:])


@pytest.mark.parametrize("tokens", [False, True])
def test_a_layer_may_give_its_map_with_channels_last_or_as_tokens(tokens):
    found = cams(Small(Through(tokens)), INPUT, target_layer="between.seen", classes=1)
    np.testing.assert_allclose(found.maps[:, 0], expected_at_first(Small()), atol=1e-7)


def test_work_in_place_after_the_layer_leaves_its_activation():
    found = cams(Small(nn.ReLU(inplace=True)), INPUT, target_layer="first", classes=1)
    np.testing.assert_allclose(found.maps[:, 0], expected_at_first(Small(nn.ReLU())), atol=1e-7)


def test_of_a_module_that_is_called_several_times_the_last_call_with_a_map_counts():
    shared = nn.ReLU()
    found = cams(Small(shared, shared), INPUT, target_layer=shared, classes="all")
    apart = cams(Small(nn.ReLU(), nn.ReLU()), INPUT, target_layer="act", classes="all")
    assert apart.maps.max() > 0
    np.testing.assert_array_equal(found.maps, apart.maps)


def test_without_a_target_layer_it_is_the_last_map_that_the_logits_depend_on():
    class WithAuxiliary(Small):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary = nn.Conv2d(8, 8, 1)

        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            self.auxiliary(self.first(images))
            return logits

    found = cams(WithAuxiliary(), INPUT, classes="all")
    np.testing.assert_array_equal(found.maps, cams(Small(), INPUT, classes="all").maps)
    named = cams(Small(), INPUT, target_layer="act", classes="all")
    np.testing.assert_array_equal(found.maps, named.maps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_other_precisions_give_float32_maps(dtype):
    found = cams(Small().to(dtype), INPUT, target_layer="first", classes=1)
    assert found.maps.dtype == found.logits.dtype == np.float32
    expected = expected_at_first(Small())
    np.testing.assert_allclose(found.maps[:, 0], expected, rtol=0, atol=0.05 * expected.max())


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("trainable", [True, False])
def test_it_works_with_frozen_parameters_and_without_the_callers_gradients(around, trainable):
    model = Small().requires_grad_(trainable)
    with around():
        found = cams(model, INPUT + 0, target_layer="first", classes=1)
    np.testing.assert_allclose(found.maps[:, 0], expected_at_first(Small()), atol=1e-7)


@pytest.mark.parametrize("method", ["grad_cam", "class_weight"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was_even_when_it_fails(method, fails):
    model = Small(nn.BatchNorm2d(8)).train()
    model.second.eval()
    model.first.weight.requires_grad_(False)
    model.head.weight.grad = torch.full_like(model.head.weight, 7.0)
    seen = []
    own = model.act.register_forward_hook(lambda *_: seen.append(1))
    modes = [module.training for module in model.modules()]
    asking = [parameter.requires_grad for parameter in model.parameters()]
    statistics = model.between.running_mean.clone()
    hooks = [dict(module._forward_hooks) for module in model.modules()]
    if fails:

        def fail(*_: object) -> None:
            raise RuntimeError("out of luck")

        model.head.forward = fail
        with pytest.raises(
            InputError, match=r"Small cannot take these images of 32 x 24 px: .*luck"
        ):
            cams(model, INPUT, method=method)
    else:
        cams(model, INPUT, method=method)
    assert seen
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == asking
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(model.between.running_mean, statistics)
    gradients = {n for n, p in model.named_parameters() if p.grad is not None}
    assert gradients == {"head.weight"}
    assert (model.head.weight.grad == 7).all()
    own.remove()


def test_the_images_are_left_as_they_were():
    class Overwriting(Small):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.sub_(1))

    images = INPUT.clone()
    cams(Overwriting(), images)
    assert torch.equal(images, INPUT)


def test_the_batch_size_may_be_a_number_of_numpys():
    found = cams(Small(), INPUT, batch_size=np.int64(1))
    np.testing.assert_allclose(found.maps, cams(Small(), INPUT).maps, atol=1e-6)


def test_maps_print_as_a_line():
    found = cams(Small(), INPUT, classes=[1, 3])
    said = "maps [2, 2, 6, 8] of classes [[1, 3], [1, 3]], images of 32 x 24 px"
    assert repr(found) == f"ClassMaps({said})"


def test_a_model_without_weights_is_named():
    with pytest.raises(InputError, match=r"^model: lies on the device meta, without weights"):
        cams(Small().to("meta"), INPUT)


def test_logits_may_stand_in_an_object():
    class Answer(dict):
        logits: Tensor

    class Wrapped(Small):
        def forward(self, images: Tensor) -> object:
            return Answer(logits=super().forward(images))

    np.testing.assert_array_equal(cams(Wrapped(), INPUT).maps, cams(Small(), INPUT).maps)


class Nowhere(nn.Module):
    """A classifier without any map."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean((2, 3)))


WRONG = [
    (
        PICTURES.astype(np.int64),
        {},
        r"images: expected uint8 \[H, W, 3\].* got int64 \[2, 24, 32, 3",
    ),
    (PICTURES.astype(np.uint16), {}, "images: expected uint8 .* got uint16"),
    (PICTURES[..., 0], {}, r"got \[2, 24, 32\], in which no axis has 3 channels"),
    (PICTURES[0, :, :, 0], {}, r"got \[24, 32\]; of a grey image .* image.convert\(.RGB"),
    (PICTURES[0, :3], {}, r"the shape \[3, 32, 3\] can be read with channels first or last"),
    (PICTURES[:0], BY_US, "expected at least one image with pixels"),
    (PICTURES, {}, "mean and std: Small does not say how its images are normalised; expected both"),
    (PICTURES, {"mean": MEAN}, "mean and std: expected both or neither"),
    (
        PICTURES,
        {"mean": (1, 2), "std": STD},
        r"mean: expected three finite numbers from 0 to 1, .* \(1, 2\)",
    ),
    (PICTURES, {"mean": MEAN, "std": (1, 0, 1)}, "std: expected three finite numbers above 0"),
    (
        PICTURES,
        {"mean": (123, 117, 104), "std": (58, 57, 57)},
        "mean: .* from 0 to 1, of images in",
    ),
    (PICTURES, {"mean": MEAN, "std": (58, 57, 57)}, "std: .* above 0 and up to 1, of images in 0"),
    (PICTURES.astype(np.float32), BY_US, "lie in 0..1, got values from 0 to 255; give levels of"),
    (INPUT.abs() * 200, {}, "as the network takes it, normalised, got values from .* as uint8"),
    (INPUT / 0, {}, "expected finite values, got NaN or infinity"),
    (INPUT, BY_US, r"mean and std: expected None for float images \[B, 3, H, W\]"),
    ("image.png", {}, "images: expected uint8 .* got str 'image.png'; open files first"),
    (None, {}, "images: expected uint8 .* got NoneType$"),
    ([PICTURES[0], PICTURES[1, 1:]], {}, "images: expected images of one size in a batch"),
    (INPUT, {"method": "gradcam"}, "method 'gradcam': expected one of class_weight, grad_cam"),
    (INPUT, {"method": "class_weight", "target_layer": "act"}, "expected None for method class_we"),
    (INPUT, {"method": "attention"}, "method attention: expected a ViT, got a Small"),
    (INPUT, {"target_layer": "frist"}, "target_layer 'frist': expected .* the nearest is 'first'"),
    (INPUT, {"target_layer": "head"}, r"target_layer 'head': expected a map .* got \[1, 4\]"),
    (INPUT, {"target_layer": nn.ReLU()}, "a module of the network itself, got a ReLU"),
    (INPUT, {"target_layer": -1}, "expected a module, its dotted name or None, got int"),
    (INPUT, {"classes": 4}, "classes: expected numbers from 0 to 3, .*got 4"),
    (INPUT, {"classes": [-1]}, "classes: expected numbers from 0 to 3, .*got -1"),
    (INPUT, {"classes": "best"}, 'classes: expected "predicted", "all", a class .* got \'best\''),
    (INPUT, {"classes": []}, r"classes: expected .* got \[\]"),
    (INPUT, {"classes": [0.5]}, r"classes: expected .* got \[0.5\]"),
    (INPUT, {"classes": [[0], [1], [2]]}, "got 3 lists for 2 images"),
    (INPUT, {"classes": [[0], [1, 2]]}, "got lists of different lengths"),
    (INPUT, {"batch_size": 0}, "batch_size 0: expected 1 or more"),
    (INPUT, {"batch_size": 1.5}, "batch_size 1.5: expected a whole number from 1 on"),
    (INPUT, {"device": "gpu"}, 'device \'gpu\': expected one of this machine, such as "cpu" or "c'),
    (INPUT, {"device": "cuda:99"}, "device 'cuda:99': expected one of this machine"),
    (INPUT[:, :2], {}, "Small cannot take these images of 32 x 24 px: RuntimeError"),
    (
        INPUT,
        {"settings": CamSettings(), "method": "grad_cam"},
        "method: expected either settings or",
    ),
    (INPUT, {"settings": "grad_cam"}, "settings: expected CamSettings, got str"),
    (PICTURES, {"settings": CamSettings()}, "settings: expected a Network .* got Small.*from_timm"),
]


@pytest.mark.parametrize(("images", "arguments", "said"), WRONG)
def test_wrong_input_is_a_sentence_that_says_what_was_expected(images, arguments, said):
    with pytest.raises(InputError, match=said) as caught:
        cams(Small(), images, **arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Nowhere(), "target_layer None: Nowhere has no module that gives a map"),
        (
            nn.Conv2d(3, 2, 3),
            r"model: expected a classifier that gives logits, .* got \[1, 2, 22, 3",
        ),
        (lambda images: images, r"model: expected a torch.nn.Module, got function"),
    ],
)
def test_a_model_without_logits_or_maps_is_named(model, said):
    with pytest.raises(InputError, match=said):
        cams(model, INPUT)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (PICTURES / 255, r"images: expected uint8 \[N, S, S, 3\] of at least one image.* float64"),
        (PICTURES[0], r"images: expected uint8 \[N, S, S, 3\].*\[24, 32, 3\]"),
        (PICTURES.transpose(0, 3, 1, 2), r"images: expected uint8 .*\[2, 3, 24, 32\]"),
        (PICTURES[:0], r"images: expected uint8 .*\[0, 24, 32, 3\]"),
    ],
)
def test_wrong_images_for_settings_are_named(images, said, cnn):
    with pytest.raises(InputError, match=said):
        cams(cnn(), images, CamSettings())
