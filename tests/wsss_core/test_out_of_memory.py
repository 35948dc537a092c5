"""Memory that runs out: known by its errors, and worked around in smaller batches."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss_core.cams import CamSettings, cams, class_weight_cams
from wsss_core.out_of_memory import in_batches, is_out_of_memory

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8)


def test_an_allocation_that_the_machine_refuses_is_known_as_such():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**16)
    assert is_out_of_memory(refused.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_libraries_that_take_memory_themselves_say_so_in_their_own_words(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
        ValueError("CUDA error: out of memory"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
    ],
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


def test_batches_are_halved_until_they_fit_and_stay_so():
    tried = []

    def squares(part: slice, size: int) -> list[int]:
        tried.append((part.start, part.stop, size))
        if part.stop - part.start > 3:
            raise torch.OutOfMemoryError
        return [n * n for n in range(part.start, part.stop)]

    made = in_batches(squares, 11, 8, device="cpu", what="squares")
    assert [n for part in made for n in part] == [n * n for n in range(11)]
    assert [size for _, _, size in tried] == [8, 4, 2, 2, 2, 2, 2, 2]


def limited(network, most: int):
    """A network that cannot take more than `most` images at once."""

    def check(module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    network.register_forward_pre_hook(check)
    return network


@pytest.mark.parametrize("most", [1, 2, 5, 11])
def test_cams_are_the_same_however_many_images_fit(cnn, most):
    whole = class_weight_cams(cnn(classes=2, size=32), IMAGES)
    parts = class_weight_cams(limited(cnn(classes=2, size=32), most), IMAGES)
    np.testing.assert_allclose(parts.maps, whole.maps, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-5)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("settings", "most"),
    [
        (CamSettings(scales=(0.5, 1.0, 2.0), flip=True), 2),
        (CamSettings(method="grad_cam", layers=("layer3", "layer4")), 1),
        (CamSettings(method="layer_cam", layers=("layer4",), scales=(1.0, 0.5)), 3),
    ],
)
def test_cams_of_scales_layers_and_flips_are_so_too(cnn, settings, most):
    whole = cams(cnn(classes=2, size=32), IMAGES, settings)
    parts = cams(limited(cnn(classes=2, size=32), most), IMAGES, settings)
    np.testing.assert_allclose(parts.maps, whole.maps, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-5)


@pytest.mark.ci
@pytest.mark.parametrize("settings", [CamSettings(), CamSettings(flip=True)])
def test_one_image_that_does_not_fit_is_an_error_that_names_its_size(cnn, settings):
    network = limited(cnn(classes=2, size=32), 0)
    with pytest.raises(torch.OutOfMemoryError, match="images of 32 x 32 px runs out of memory"):
        cams(network, IMAGES, settings)
    assert network.training, "the network was not left in the mode it came in"
