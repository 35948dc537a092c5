"""Grad-CAM and LayerCAM beside pytorch-grad-cam, and what they leave behind: nothing."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from wsss_core.backbones import Network
from wsss_core.cams import grad_cam, gradient_cams, layer_cam
from wsss_core.errors import InputError

METHODS = {"grad_cam": (GradCAM, grad_cam), "layer_cam": (LayerCAM, layer_cam)}


def rendered(count: int, size: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


class Logits(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).logits


def by_pytorch_grad_cam(method, network, module, image, k, reshape=None) -> np.ndarray:
    """Its map of one image before it is stretched to 0..1 and to the image's size, [h, w]."""
    model = Logits(network)
    targets = [ClassifierOutputTarget(k)]
    with method(model=model, target_layers=[module], reshape_transform=reshape) as cam:
        cam(input_tensor=image, targets=targets)
        activation, gradient = (
            tensors[0].numpy()
            for tensors in (
                cam.activations_and_grads.activations,
                cam.activations_and_grads.gradients,
            )
        )
        raw = cam.get_cam_image(image, module, targets, activation, gradient, False)
    return np.maximum(raw[0], 0)


def assert_equal_to_its_peak(found: torch.Tensor, expected: np.ndarray) -> None:
    """Within 1e-4 of the highest score; a map of zeros would show nothing."""
    assert expected.max() > 0
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-4 * expected.max())


@pytest.mark.parametrize("layer", ["layer4", "layer2"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_at_a_cnns_stage_it_is_pytorch_grad_cams_map(method, layer, cnn):
    network = cnn(classes=3, size=64).eval()
    theirs, ours = METHODS[method]
    images = rendered(2, 64)
    (maps,), _ = gradient_cams(network, images, [layer], ours)
    module = getattr(network.encoder.extractor, layer)
    for b, k in np.ndindex(2, 3):
        expected = by_pytorch_grad_cam(theirs, network, module, images[b : b + 1], k)
        assert_equal_to_its_peak(maps[b, k], expected)


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2, "qk_norm": True}])
@pytest.mark.parametrize("block", [-1, -3])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_at_a_vits_norm1_it_is_pytorch_grad_cams_map(method, block, options, vit):
    network = vit(classes=3, size=32, depth=4, **options).eval()
    theirs, ours = METHODS[method]
    images = rendered(2, 32)
    (maps,), _ = gradient_cams(network, images, [block], ours)
    prefix = 1 + options.get("reg_tokens", 0)

    def reshape(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, prefix:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)

    module = network.encoder.vit.blocks[block].norm1
    for b, k in np.ndindex(2, 3):
        expected = by_pytorch_grad_cam(theirs, network, module, images[b : b + 1], k, reshape)
        assert_equal_to_its_peak(maps[b, k], expected)


def test_at_the_last_stage_of_a_cnn_grad_cam_is_the_positive_class_weight_cam_over_its_size(cnn):
    """Selvaraju et al., section 3: Grad-CAM generalises CAM, up to the number of locations."""
    network = cnn(classes=3, size=64).double().eval()
    images = rendered(2, 64).double()
    (maps,), logits = gradient_cams(network, images, ["layer4"])
    with torch.no_grad():
        output = network(images)
    torch.testing.assert_close(maps * 64, output.activation_maps.relu())
    torch.testing.assert_close(logits, output.logits)


@pytest.mark.parametrize(("kind", "layers"), [("cnn", ["layer4", "layer2"]), ("vit", [-1, 0])])
def test_layers_asked_for_together_get_the_maps_they_get_alone(kind, layers, request):
    network = request.getfixturevalue(kind)(classes=2, size=32).double().eval()
    images = rendered(2, 32).double()
    together, _ = gradient_cams(network, images, layers)
    for layer, maps in zip(layers, together, strict=True):
        torch.testing.assert_close(maps, gradient_cams(network, images, [layer])[0][0])


@pytest.mark.parametrize(("kind", "layer"), [("cnn", "layer3"), ("vit", 0)])
def test_parameters_get_no_gradient_and_keep_what_they_had(kind, layer, request):
    network = request.getfixturevalue(kind)(classes=2, size=32).eval()
    parameters = list(network.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.full_like(parameters[1], 7.0)
    asking = [parameter.requires_grad for parameter in parameters]
    gradient_cams(network, rendered(2, 32), [layer])
    assert [parameter.requires_grad for parameter in parameters] == asking
    assert torch.equal(parameters[1].grad, torch.full_like(parameters[1], 7.0))
    assert [n for n, parameter in enumerate(parameters) if parameter.grad is not None] == [1]


@pytest.mark.parametrize(("kind", "layer"), [("cnn", "layer3"), ("vit", 0)])
@pytest.mark.parametrize("fails", [False, True])
def test_no_hook_stays_even_when_the_network_fails(fails, kind, layer, request):
    network = request.getfixturevalue(kind)(classes=2, size=32)

    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    if fails:
        network.head.forward = fail
        with pytest.raises(RuntimeError, match="out of luck"):
            gradient_cams(network, rendered(2, 32), [layer])
    else:
        gradient_cams(network, rendered(2, 32), [layer])
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_it_works_inside_inference_mode(vit):
    network = vit(classes=2, size=32).eval()
    images = rendered(2, 32)
    expected, _ = gradient_cams(network, images, [-1])
    with torch.inference_mode():
        found, _ = gradient_cams(network, images, [-1])
    torch.testing.assert_close(found[0], expected[0])


def test_a_layer_that_is_followed_by_work_in_place_keeps_its_activation(cnn):
    network = cnn(classes=2, size=32).double().eval()
    images = rendered(2, 32).double()
    layer4 = network.encoder.extractor.layer4
    inner = layer4.forward
    layer4.forward = lambda x: inner(x * 2)
    expected, _ = gradient_cams(network, images, ["layer3"])
    layer4.forward = lambda x: inner(x.mul_(2))
    found, _ = gradient_cams(network, images, ["layer3"])
    torch.testing.assert_close(found[0], expected[0])


def test_an_unknown_layer_is_an_error_that_names_those_there_are(cnn, vit):
    with pytest.raises(InputError, match=r"no layer 'layer9'; it has .*layer3, layer4"):
        gradient_cams(cnn(size=32), rendered(1, 32), ["layer9"])
    with pytest.raises(InputError, match=r"no layer -9; it has blocks 0 to 1"):
        gradient_cams(vit(size=32), rendered(1, 32), [-9])


def test_a_layer_the_logits_do_not_depend_on_is_an_error(cnn):
    network = cnn(size=32).eval()
    stages = network.encoder.extractor
    stages.layer4.forward = lambda x: x.new_ones(len(x), 32, 4, 4)
    with pytest.raises(InputError, match="do not depend"):
        gradient_cams(network, rendered(1, 32), ["layer3"])
    with pytest.raises(InputError, match=r"'layer3'.*do not depend"):
        gradient_cams(network, rendered(1, 32), ["layer3", "layer4"])


@pytest.mark.parametrize(("kind", "layers"), [("cnn", ["layer3"]), ("vit", [1])])
def test_autograd_records_nothing_before_the_first_layer(kind, layers, request):
    network = request.getfixturevalue(kind)(classes=2, size=32).eval()
    encoder = network.encoder
    before = encoder.vit.blocks[0] if kind == "vit" else encoder.extractor.layer2
    recorded = []
    before.register_forward_hook(lambda *call: recorded.append(call[2].requires_grad))
    gradient_cams(network, rendered(1, 32), layers)
    assert recorded
    assert not any(recorded)
