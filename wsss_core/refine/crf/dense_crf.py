"""Dense CRF: class probabilities redrawn along the edges of the picture.

Krähenbühl and Koltun (NIPS 2011), with the settings under which the field uses it. Two backends
give the same posteriors: `torch`, the package's own mean field (any device, nothing to compile),
and `pydensecrf`, the C++ library behind the published numbers.

>>> import numpy as np
>>> image = np.zeros((16, 24, 3), np.uint8)
>>> image[:, 12:] = 255
>>> scores = np.full((1, 16, 24), 0.2, np.float32)
>>> scores[:, :, 10:] = 0.9  # two pixels beyond the edge
>>> probabilities = unary_probabilities(scores, preset="afa")
>>> probabilities.argmax(0)[0].sum()
tensor(14)
>>> dense_crf(image, probabilities, preset="afa").argmax(0)[0].sum()
tensor(12)
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_core.errors import InputError
from wsss_core.progress import made_progress
from wsss_core.refine.crf.mean_field import bilateral_kernel, gaussian_kernel, mean_field
from wsss_core.refine.crf.settings import CRF_BACKENDS, CRF_PRESETS, CrfSettings

_PIXELS_AT_ONCE = 2**22
"""On a GPU, images of so many pixels in all share one lattice, so that its kernels are filled."""

_ROUNDING = 1e-4  # a softmax or a resize may leave 1 by as little


def unary_probabilities(
    scores: Tensor | NDArray[np.floating], *, preset: str | CrfSettings = "thesis"
) -> Tensor:
    """Turn the scores of K foreground classes into the probabilities of K + 1 classes.

    Only classes that the image holds belong among the scores. PSA divides by no sum; the division
    adds a constant to a pixel's unaries and matters only where `clip` bites.

    Args:
        scores: float [K, H, W] or [B, K, H, W], 0 to 1: CAMs, normalised.
        preset: a name in `CRF_PRESETS`, or the settings themselves.

    Returns:
        float32 [K + 1, H, W] or [B, K + 1, H, W], background first, summing to one.

    Raises:
        InputError: the scores have another shape or range, or no preset has the name.

    """
    settings = _settings(preset)
    foreground = _unit_interval("scores", scores)
    if foreground.ndim not in (3, 4) or 0 in foreground.shape:
        raise InputError(
            f"dense CRF: scores have shape {tuple(foreground.shape)}, "
            "expected [K, H, W] or [B, K, H, W], none of them 0"
        )
    foreground = foreground.clamp(max=1)
    if settings.unary == "power":
        background = (1 - foreground.amax(-3, keepdim=True)) ** settings.background
        classes = torch.cat([background, foreground], -3)
        return classes / classes.sum(-3, keepdim=True)
    background = torch.full_like(foreground.narrow(-3, 0, 1), settings.background)
    classes = torch.cat([background, foreground], -3)
    if settings.unary == "softmax":
        return classes.softmax(-3)
    return _believed(classes, settings.gt_prob)


def dense_crf(
    image: Tensor | NDArray[np.uint8],
    probabilities: Tensor | NDArray[np.floating],
    *,
    preset: str | CrfSettings = "thesis",
    backend: str = "torch",
) -> Tensor:
    """Refine class probabilities by a dense CRF over the picture.

    Args:
        image: uint8 [H, W, 3], RGB; or [B, H, W, 3].
        probabilities: float [C, H, W], 0 to 1, C at least 2, background first; or [B, C, H, W].
            They need not sum to one. Under `unary="labels"` only the largest of each pixel counts.
        preset: a name in `CRF_PRESETS`, or the settings themselves.
        backend: "torch", or "pydensecrf" (extra `crf`; on the CPU, image by image).

    Returns:
        Posteriors, float32 of the probabilities' shape and on their device, summing to one over the
        classes.

    Raises:
        InputError: shapes, types or values other than the above, an unknown preset or backend, or
            pydensecrf is not installed.

    """
    settings = _settings(preset)
    if backend not in CRF_BACKENDS:
        raise InputError(f"dense CRF: backend is {backend!r}, expected one of {CRF_BACKENDS}")
    classes = _unit_interval("probabilities", probabilities)
    pictures = _picture(image).to(classes.device)
    _check_shapes(pictures, classes)
    batched = classes.ndim == 4
    if not batched:
        pictures, classes = pictures[None], classes[None]
    with torch.no_grad():
        if settings.unary == "labels":
            classes = _believed(classes, settings.gt_prob)
        log_unary = classes.clamp(settings.clip, 1).log()
        infer = _own_mean_field if backend == "torch" else _pydensecrf
        posteriors = infer(pictures, log_unary, settings)
    return posteriors if batched else posteriors[0]


def _own_mean_field(images: Tensor, log_unary: Tensor, settings: CrfSettings) -> Tensor:
    height, width = images.shape[1:3]
    # One image's lattice fits a CPU's caches, and many images' fill a GPU.
    on_cpu = images.device.type == "cpu"
    together = 1 if on_cpu else max(1, _PIXELS_AT_ONCE // (height * width))
    gaussian = gaussian_kernel(height, width, float(settings.gaussian_sxy), images.device)
    posteriors = torch.empty_like(log_unary)
    for start in range(0, len(images), together):
        part = slice(start, start + together)
        # A lattice is most of the work, and two unaries of one image follow each other.
        if not (on_cpu and start and torch.equal(images[start], images[start - 1])):
            bilateral = bilateral_kernel(
                images[part], float(settings.bilateral_sxy), float(settings.bilateral_srgb)
            )
        kernels = [(gaussian, settings.gaussian_compat), (bilateral, settings.bilateral_compat)]
        # Class first: each class's pixels are then one contiguous vector to filter.
        unary = log_unary[part].transpose(0, 1).flatten(2).contiguous()
        result = mean_field(unary, kernels, settings.iterations)
        posteriors[part] = result.transpose(0, 1).view_as(log_unary[part])
        made_progress()
    return posteriors


def _pydensecrf(images: Tensor, log_unary: Tensor, settings: CrfSettings) -> Tensor:
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise InputError(
            "dense CRF: backend 'pydensecrf' is not installed; it comes with the extra crf: "
            "pip install 'wsss-studies[crf]'"
        ) from error
    count, classes, height, width = log_unary.shape
    posteriors = np.empty((count, classes, height, width), np.float32)
    unary = (-log_unary).flatten(2).cpu().numpy()
    pictures = images.cpu().numpy()
    for index in range(count):
        crf = DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(unary[index]))
        crf.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_compat)
        crf.addPairwiseBilateral(
            sxy=settings.bilateral_sxy,
            srgb=settings.bilateral_srgb,
            rgbim=np.ascontiguousarray(pictures[index]),
            compat=settings.bilateral_compat,
        )
        inferred = np.asarray(crf.inference(settings.iterations))
        posteriors[index] = inferred.reshape(classes, height, width)
    return torch.from_numpy(posteriors).to(log_unary.device)


def _believed(classes: Tensor, gt_prob: float) -> Tensor:
    """Give the largest class of each pixel `gt_prob`, the others an equal share of the rest."""
    rest = (1 - gt_prob) / (classes.shape[-3] - 1)
    label = classes.argmax(-3, keepdim=True)
    return torch.full_like(classes, rest).scatter_(-3, label, gt_prob)


def _settings(preset: str | CrfSettings) -> CrfSettings:
    if isinstance(preset, CrfSettings):
        return preset
    if preset not in CRF_PRESETS:
        known = ", ".join(CRF_PRESETS)
        raise InputError(f"dense CRF: preset is {preset!r}, expected one of {known} or CrfSettings")
    return CRF_PRESETS[preset]


def _unit_interval(name: str, values: Tensor | NDArray[np.floating]) -> Tensor:
    """Take over float values of 0 to 1 as a float32 tensor on their own device."""
    given = (
        values.detach()
        if isinstance(values, Tensor)
        else torch.tensor(np.ascontiguousarray(values))
    )
    if not given.is_floating_point():
        raise InputError(f"dense CRF: {name} have type {given.dtype}, expected floats of 0 to 1")
    given = given.float()
    if given.numel():
        lowest, highest = (float(bound) for bound in given.aminmax())
        if not (lowest >= 0 and highest <= 1 + _ROUNDING):
            raise InputError(
                f"dense CRF: {name} go from {lowest:g} to {highest:g}, expected 0 to 1"
            )
    return given


def _picture(image: Tensor | NDArray[np.uint8]) -> Tensor:
    given = image if isinstance(image, Tensor) else torch.tensor(np.ascontiguousarray(image))
    if given.dtype != torch.uint8:
        raise InputError(f"dense CRF: image has type {given.dtype}, expected uint8, 0-255")
    return given


def _check_shapes(image: Tensor, probabilities: Tensor) -> None:
    picture, classes = tuple(image.shape), tuple(probabilities.shape)
    fits = len(picture) == len(classes) in (3, 4) and picture[-1] == 3 and 0 not in classes
    if not fits or picture[:-1] != (*classes[:-3], *classes[-2:]):
        raise InputError(
            f"dense CRF: image has shape {picture} and probabilities {classes}, expected "
            "[H, W, 3] and [C, H, W], or [B, H, W, 3] and [B, C, H, W]"
        )
    if classes[-3] < 2:
        raise InputError(
            f"dense CRF: probabilities of shape {classes} have {classes[-3]} class, expected 2 or "
            "more, background first"
        )
