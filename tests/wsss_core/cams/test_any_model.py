"""CAMs of timm's, torchvision's and hand-made classifiers beside pytorch-grad-cam's."""

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
import torchvision
from pytorch_grad_cam import GradCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from wsss_core.backbones import build_network
from wsss_core.cams import ClassMaps, cams
from wsss_core.errors import InputError

THEIRS = {"grad_cam": GradCAM, "layer_cam": LayerCAM}
Reshape = Callable[[Tensor], Tensor]


def rendered(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 4 - 2


def by_hand() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )


def tokens_as_map(tokens: Tensor) -> Tensor:
    return tokens[:, 1:].unflatten(1, (14, 14)).permute(0, 3, 1, 2)


def last_to_first(found: Tensor) -> Tensor:
    return found.permute(0, 3, 1, 2)


def case(name: str) -> tuple[nn.Module, Tensor, nn.Module, Reshape | None]:
    """A classifier with random weights, images, and the layer that None shall stand for."""
    torch.manual_seed(0)
    if name == "timm resnet18":
        resnet = timm.create_model("resnet18", zero_init_last=False)
        return resnet, rendered(2, 96, 96), resnet.layer4, None
    if name == "timm vit_tiny_patch16_224":
        vit = timm.create_model("vit_tiny_patch16_224")
        return vit, rendered(1, 224, 224), vit.blocks[-1].norm1, tokens_as_map
    if name == "torchvision mobilenet_v3_small":
        mobile = torchvision.models.mobilenet_v3_small()
        with torch.no_grad():  # at first its gradients are as small as the 1e-7 they add to a peak
            mobile.classifier[-1].weight.mul_(1e4)
        return mobile, rendered(2, 128, 96), mobile.features, None
    if name == "torchvision swin_t":
        swin = torchvision.models.swin_t()
        return swin, rendered(1, 96, 96), swin.norm, last_to_first
    own = by_hand()
    return own, rendered(2, 32, 48), own[3], None


PLAIN = ["timm resnet18", "torchvision mobilenet_v3_small", "by hand"]
SLOW = ["timm vit_tiny_patch16_224", "torchvision swin_t"]
CASES = [*PLAIN, *(pytest.param(name, marks=pytest.mark.ci) for name in SLOW)]


def raw_and_shown(
    model: nn.Module,
    images: Tensor,
    layer: nn.Module,
    method: str,
    reshape: Reshape | None,
    classes: list[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Its maps before it stretches them, [B, h, w], and what it returns, [B, H, W]."""
    targets = [ClassifierOutputTarget(k) for k in classes]
    with THEIRS[method](model, [layer], reshape) as cam:
        shown = cam(images, targets)
        held = cam.activations_and_grads
        tensors = [held.activations[0].numpy(), held.gradients[0].numpy()]
        raw = cam.get_cam_image(images, layer, targets, *tensors, False)
    model.zero_grad()
    return np.maximum(raw, 0), shown


def assert_is_theirs(found: ClassMaps, raw: np.ndarray, shown: np.ndarray, k: int = 0) -> None:
    """Within 1e-4 of the peak; a map of zeros would show nothing."""
    assert raw.max() > 0
    np.testing.assert_allclose(found.maps[:, k], raw, rtol=0, atol=1e-4 * raw.max())
    np.testing.assert_allclose(found.scores()[:, k], shown, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", sorted(THEIRS))
@pytest.mark.parametrize("name", CASES)
def test_the_maps_of_the_predicted_class_are_pytorch_grad_cams(name, method):
    model, images, layer, reshape = case(name)
    found = cams(model, images, method=method)
    with torch.no_grad():
        logits = model.eval()(images)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-4, atol=1e-4)
    assert found.classes.tolist() == logits.argmax(1, keepdim=True).tolist()
    predicted = found.classes[:, 0].tolist()
    assert_is_theirs(found, *raw_and_shown(model, images, layer, method, reshape, predicted))


@pytest.mark.parametrize("method", sorted(THEIRS))
@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("timm resnet18", "layer2"),
        ("torchvision mobilenet_v3_small", "features.3"),
        ("by hand", "1"),
    ],
)
def test_at_a_named_layer_the_maps_of_given_classes_are_pytorch_grad_cams(name, target, method):
    model, images, _, _ = case(name)
    module = model.get_submodule(target)
    by_name = cams(model, images, target_layer=target, method=method, classes=[4, 1])
    by_module = cams(model, images, target_layer=module, method=method, classes=[4, 1])
    assert np.array_equal(by_name.maps, by_module.maps)
    assert by_name.classes.tolist() == [[4, 1]] * len(images)
    for k, number in enumerate([4, 1]):
        theirs = raw_and_shown(model, images, module, method, None, [number] * len(images))
        assert_is_theirs(by_name, *theirs, k)


def test_images_may_have_classes_of_their_own():
    model, images, _, _ = case("by hand")
    all_of_them = cams(model, images, classes="all")
    assert all_of_them.maps.shape == (2, 5, 8, 12)
    own = cams(model, images, classes=[[0, 3], [4, 2]])
    assert np.array_equal(own.maps[0], all_of_them.maps[0, [0, 3]])
    assert np.array_equal(own.maps[1], all_of_them.maps[1, [4, 2]])
    one = cams(model, images, classes=torch.tensor(3))
    assert np.array_equal(one.maps, all_of_them.maps[:, 3:4])


def test_batches_of_any_size_give_the_same():
    model, _, _, _ = case("by hand")
    images = rendered(5, 32, 48)
    whole = cams(model, images, classes=[[0], [1], [2], [3], [4]])
    parts = cams(model, images, classes=[[0], [1], [2], [3], [4]], batch_size=2)
    np.testing.assert_allclose(parts.maps, whole.maps, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(parts.logits, whole.logits, rtol=1e-5, atol=1e-6)
    assert np.array_equal(parts.classes, whole.classes)


@pytest.mark.parametrize("name", ["timm resnet18", "by hand"])
def test_the_mean_of_a_class_weight_cam_and_the_bias_are_the_logit(name):
    model, images, _, _ = case(name)
    found = cams(model, images, method="class_weight", classes="all")
    bias = (model.fc if hasattr(model, "fc") else model[-1]).bias.detach().numpy()
    np.testing.assert_allclose(found.maps.mean((-2, -1)) + bias, found.logits, rtol=1e-4, atol=1e-5)
    # Selvaraju et al., section 3: Grad-CAM is its positive part over the number of locations.
    gradient = cams(model, images, method="grad_cam", classes="all")
    places = found.maps[0, 0].size
    np.testing.assert_allclose(gradient.maps * places, np.maximum(found.maps, 0), atol=1e-5)


def test_a_network_that_ends_in_class_maps_has_them_as_class_weight_cams():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = rendered(2, 33, 33)
    found = cams(model, images, method="class_weight", classes=[2, 0])
    with torch.no_grad():
        np.testing.assert_allclose(found.maps, model[0](images)[:, [2, 0]], atol=1e-6)


class PooledTwice(nn.Module):
    """Its map goes through ReLU in place before it is pooled, as torchvision's DenseNets do."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 6, 4, stride=4)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(nn.functional.relu(self.features(images), inplace=True).mean((2, 3)))


def test_a_class_weight_cam_is_of_the_map_that_is_pooled_though_it_was_made_in_place():
    torch.manual_seed(0)
    model, images = PooledTwice(), rendered(2, 32, 32)
    found = cams(model, images, method="class_weight", classes="all")
    with torch.no_grad():
        pooled = model.features(images).relu()
        expected = torch.einsum("bchw,kc->bkhw", pooled, model.head.weight)
    np.testing.assert_allclose(found.maps, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["torchvision mobilenet_v3_small", "vit"])
def test_a_network_with_another_end_has_no_class_weight_cam(name):
    if name == "vit":
        options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
        model, images = timm.create_model("vit_tiny_patch16_224", **options), rendered(1, 32, 32)
    else:
        model, images, _, _ = case(name)
    said = "method class_weight: expected a network that ends in a mean over locations and one lin"
    with pytest.raises(InputError, match=said):
        cams(model, images, method="class_weight")


def test_attention_weighs_the_class_weight_cam_of_a_mean_pooled_vit():
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    pooling = {"global_pool": "avg", "class_token": False, "fc_norm": False}
    model = timm.create_model("vit_tiny_patch16_224", **options, **pooling, num_classes=3)
    images = rendered(2, 32, 32)
    plain = cams(model, images, method="class_weight", classes="all")
    found = cams(model, images, method="attention", classes="all")
    total = np.zeros((2, 16, 16))

    def add(module: nn.Module, inputs: Tensor, weights: Tensor) -> None:
        nonlocal total
        total = total + weights.detach().mean(1).numpy()

    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(add)
    with torch.no_grad():
        model.eval()(images)
    expected = np.einsum("bkj,bij->bki", plain.maps.reshape(2, 3, 16), total)
    np.testing.assert_allclose(found.maps, expected.reshape(2, 3, 4, 4), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["class_weight", "grad_cam", "layer_cam"])
def test_a_network_of_this_package_can_be_asked_the_same_way(method, cnn):
    network = cnn(classes=3, size=32).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = cams(network, images, method=method, classes="all")
    layer = network.encoder.extractor.layer4
    with torch.no_grad():
        output = network(images)
    np.testing.assert_allclose(found.logits, output.logits, atol=1e-5)
    if method == "class_weight":
        np.testing.assert_allclose(found.maps, output.activation_maps, atol=1e-6)
        return

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images).logits

    theirs = raw_and_shown(Logits(), images, layer, method, None, [1, 1])
    assert_is_theirs(found, *theirs, 1)


def test_without_a_method_a_network_of_this_package_gives_what_studies_keep(cnn):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    assert cams(cnn(), images).maps.dtype == np.float16
    vit = build_network(
        "vit_tiny_patch16_224",
        classes=2,
        image_size=16,
        options={"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    )
    assert cams(vit, images, method="attention", classes="all").maps.dtype == np.float32
