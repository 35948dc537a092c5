"""This package on a timm network: the same network, the right map, at the right place, trainable.

Right means, for the class-weight CAM: `timm.create_model` gives weights (perturbed, so that no two
tensors are alike), a file of them goes in strictly and every tensor that timm's own
`forward_features` depends on is in the network (found by value, not by name). The network's map
then equals that of `forward_features`, in its grid, channels and values (1e-4 relative), wherever
that is a map or tokens. A block changed in the image changes the map there. And the network trains
a step, is saved as a study saves it, and gives the same numbers when it is loaded.

Grad-CAM is right if it equals that of autograd on timm's own model with the same head, at the
output of one of timm's modules in the last third of the network.

What the product refuses in one line (`InputError`, from building the network or from a study's
preflight) is "refused"; any other exception is "crash".
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backbone_checks.models import OPTIONS
from backbone_checks.places import place_shown, random_images, sizes_of
from backbone_checks.reference import (
    gradient_maps,
    in_deadly_format,
    intermediates,
    left_over,
    perturbed,
    reference_models,
    relative_error,
    timms_map,
    unused_by_features,
)
from backbone_checks.reporting import Outcome, in_a_line
from studies.planning import TrainingJob
from studies.planning.images import ImageSplits
from studies.preflight.network_check import NetworkCheck
from studies.stages.training import build_paradigm, load_network, train_job
from studies.store import ArtifactStore
from wsss_core.backbones import Network, build_network
from wsss_core.cams import CamSettings, cams, check_cam, gradient_cams
from wsss_core.errors import InputError
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Single

CLASSES = 3
TOLERANCE = 1e-4

Report = Callable[[str, Callable[[], Outcome]], Outcome]


@dataclass(frozen=True)
class Images:
    """What `train_job` asks of a training split: uint8 [N, S, S, 3] and bool [N, K]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def check_product(name: str, report: Report) -> None:
    """Report every check of a model; after a build that fails the others are not reached."""
    built = report("build", partial(_build, name))
    if built.verdict != "right":
        return
    checked = Checked(name, built.more["size"])
    with tempfile.TemporaryDirectory() as folder:
        checked.folder = Path(folder)
        report("file", checked.own_file)
        report("map", checked.map)
        report("grad_cam", checked.grad_cam)
        report("taps", checked.taps)
        report("attention", partial(checked.cam, CamSettings("attention")))
        report("scales", partial(checked.cam, CamSettings(scales=(0.5, 1.0, 1.5), flip=True)))
        checked.forget()
        report("train", checked.train)
        report("pcm", checked.pcm)


def _build(name: str) -> Outcome:
    """Build and run the network at the first size that it takes; each refusal is kept."""
    refused: dict[int, str] = {}
    for size in sizes_of(name):
        try:
            network = _network(name, size).eval()
            with torch.no_grad():
                output = network(random_images(size))
        except InputError as error:
            refused[size] = str(error)
            continue
        except Exception as error:
            line = _preflight_line(name, size)
            if line is None:
                return Outcome("crash", f"at {size} px: {in_a_line(error)}")
            refused[size] = line
            continue
        given = output.activation_maps.mean((-2, -1)) + network.head.bias
        if relative_error(given, output.logits) > TOLERANCE:
            return Outcome("wrong", "the mean of the activation map is not the logit")
        parameters = sum(p.numel() for p in network.parameters())
        return Outcome("right", more={"size": size, "refused": refused, "parameters": parameters})
    last = list(refused.values())[-1]
    return Outcome("refused" if _one_line(last) else "crash", last, {"refused": refused})


def _network(name: str, size: int, **more: Any) -> Network:
    torch.manual_seed(0)
    options = OPTIONS.get(name)
    network = build_network(name, classes=CLASSES, image_size=size, options=options, **more)
    nn.init.normal_(network.head.weight)  # so that maps have values of both signs
    return network


def _job(name: str, size: int, head: str = "linear") -> TrainingJob:
    backbone = {
        "model": name,
        "weights": "none",
        "partial_weights": False,
        "stage": None,
        "output_stride": None,
        "head": head,
        "options": OPTIONS.get(name, {}),
    }
    settings = {
        "paradigm": "single",
        "student": backbone,
        "teacher": None,
        "transfer": None,
        "classes": [f"class {k}" for k in range(CLASSES)],
        "image_size": size,
        "seed": 0,
        "training": {"epochs": 1, "batch_size": 2},
    }
    return TrainingJob("job", settings, ImageSplits(size, {}), weights={"student": "none"})


def _preflight_line(name: str, size: int, head: str = "linear") -> str | None:
    """What a study's preflight says of this network before it trains it; None: nothing."""
    images: Any = _images(size)
    check = NetworkCheck.of(_job(name, size, head), images, (), ("student",))
    try:
        with tempfile.TemporaryDirectory() as folder:
            check.run(Path(folder))
    except InputError as error:
        return str(error)
    return None


def _one_line(text: str) -> bool:
    """Whether a refusal is a line that says something, and not a fault of the program itself."""
    faulty = text.rstrip().endswith(":") or any(word in text for word in _FAULTS)
    return bool(text.strip()) and "\n" not in text and not faulty


_FAULTS = ("AttributeError", "NameError", "ImportError")


def _refused(error: InputError) -> Outcome:
    said = str(error).replace(f"{tempfile.gettempdir()}/", "")
    return Outcome("refused" if _one_line(said) else "crash", said)


class Checked:
    """The checks of one model at one size."""

    folder: Path

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.network: Network | None = None
        """With weights of timm's own, once they went in."""
        self.reference: nn.Module | None = None
        """timm's whole model with the same weights."""

    def forget(self) -> None:
        """Let the networks go before others are trained."""
        self.network = self.reference = None

    def _with_weights(self, reference: nn.Module) -> Network:
        file = self.folder / "weights.pth"
        torch.save(reference.state_dict(), file)
        return _network(self.name, self.size, weights=file).eval()

    def own_file(self) -> Outcome:
        """Load a file of `timm.create_model(NAME)` as it is, of the model's own image size."""
        reference = next(reference_models(self.name, None, OPTIONS.get(self.name, {})))
        try:
            self._with_weights(reference)
        except InputError as error:
            return _refused(error)
        return Outcome("right")

    def map(self) -> Outcome:
        """Compare weights, grid, channels, values and place with timm's own model."""
        outcome = Outcome("wrong", "timm's own model does not take the size that the product takes")
        for reference in reference_models(self.name, self.size, OPTIONS.get(self.name, {})):
            perturbed(reference)
            try:
                network = self._with_weights(reference)
            except InputError as error:
                outcome = self._smaller(reference) or _refused(error)
                continue
            outcome = self._same_map(reference, network)
            if outcome.verdict != "wrong":
                self.network, self.reference = network, reference
                return outcome
        return outcome

    def _smaller(self, reference: nn.Module) -> Outcome | None:
        """Say so if the network, whose weights could not be compared, lacks a part of timm's."""
        normalised = torch.zeros(1, 3, self.size, self.size)
        unused = unused_by_features(reference, normalised)
        wanted = sum(p.numel() for n, p in reference.named_parameters() if n not in unused)
        network = _network(self.name, self.size)
        share = sum(p.numel() for p in network.encoder.parameters()) / wanted
        if share > 0.95:
            return None
        return Outcome("wrong", f"it has {share:.0%} of the parameters that timm's map takes")

    @torch.no_grad()
    def _same_map(self, reference: nn.Module, network: Network) -> Outcome:
        left = left_over(reference, network)
        images = random_images(self.size)
        normalised = (images - network.mean) / network.std
        features = network(images).features
        theirs, source = timms_map(reference, normalised, features)
        error = None if theirs is None else relative_error(features, theirs)
        if error is not None and TOLERANCE < error < 100 * TOLERANCE:
            # Rounding grows through a deep network at random weights; in float64 it is no excuse.
            features = network.double()(images.double()).features
            doubled = (images.double() - network.mean) / network.std
            theirs, source = timms_map(reference.double(), doubled, features)
            error = None if theirs is None else relative_error(features, theirs)
            network.float()
            reference.float()
        more = {
            "grid": list(features.shape),
            "cell": round(self.size / features.shape[-1], 2),
            "left_over": left,
            "error": error,
            "source": source,
        }
        unused = unused_by_features(reference, normalised)
        if needed := [key for key in left if key not in unused]:
            return Outcome("wrong", f"weights not in the network: {', '.join(needed[:3])}", more)
        if error is None:
            return Outcome("wrong", "equals no output of timm's model", more)
        if not error <= TOLERANCE:
            shapes = f"{more['grid']}, timm's {list(theirs.shape)}" if theirs is not None else ""
            return Outcome("wrong", f"relative error {error:.1e} ({shapes})", more)
        place = place_shown(lambda images: network(images).features, self.size)
        why = "rows and columns are exchanged" if place == "wrong" else ""
        return Outcome(place, why, more)

    def grad_cam(self) -> Outcome:
        """Compare Grad-CAM before its ReLU with autograd on timm's own model."""
        settings = CamSettings("grad_cam")
        network = self.network or _network(self.name, self.size).eval()
        tried = self._tried(network, settings)
        if tried is not None:
            return tried
        if self.reference is None:
            return Outcome("not reached", "the network has no weights of timm's own")

        def signed(activation: Tensor, gradient: Tensor) -> Tensor:
            return torch.einsum("bchw,bc->bhw", activation, gradient.mean((-2, -1)))

        for kind in (torch.float32, torch.float64):  # the second where rounding could excuse all
            images = random_images(self.size).to(kind)
            network.to(kind)
            reference = self.reference.to(kind)
            (maps,), _ = gradient_cams(network, images, settings.layers, signed)
            found = gradient_maps(reference, network, images, maps.shape[-2:])
            network.float()
            reference.float()
            equal = [module for module, theirs in found if _alike(maps[:, 0], theirs)]
            if equal:
                return Outcome("right", more={"module": equal[-1]})
        return Outcome("wrong", "equals that of no module in the last third of timm's model")

    @torch.no_grad()
    def taps(self) -> Outcome:
        """Compare the map beside inner layers with the map alone, and the layers with timm's."""
        network = self.network or _network(self.name, self.size).eval()
        encoder: Any = network.encoder
        images = random_images(self.size)
        alone = network(images).features
        layers = sorted({0, len(encoder.layers) // 2, max(0, len(encoder.layers) - 2)})
        for number in layers:
            name = encoder.layers[number]
            layer = name if list(encoder.layers).count(name) == 1 else number
            output = network(images, [layer])
            (tapped,) = output.taps
            if relative_error(output.features, alone) > TOLERANCE:
                return Outcome("wrong", f"beside layer {layer!r} the network's map is another one")
            if tapped.shape[1] != network.channels_at(layer):
                return Outcome("wrong", f"layer {layer!r}: {list(tapped.shape)}")
            if self.reference is None or not hasattr(self.reference, "forward_intermediates"):
                continue
            normalised = (images - network.mean) / network.std
            theirs = intermediates(self.reference, normalised, number)
            if not any(relative_error(tapped, maps) < 10 * TOLERANCE for maps in theirs):
                return Outcome("wrong", f"layer {layer!r} is not timm's intermediate map")
        return Outcome("right")

    def cam(self, settings: CamSettings) -> Outcome:
        """Make CAMs by these settings."""
        network = self.network or _network(self.name, self.size).eval()
        return self._tried(network, settings) or Outcome("right")

    def _tried(self, network: Network, settings: CamSettings) -> Outcome | None:
        try:
            check_cam(network, settings, self.size)
        except InputError as error:
            return _refused(error)
        pixels = (random_images(self.size).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
        made = cams(network, pixels, settings)
        if not np.isfinite(made.maps).all():
            return Outcome("wrong", "the maps are not finite")
        if settings.method != "grad_cam" and not np.abs(made.maps).max() > 0:
            return Outcome("wrong", "the maps are empty")
        return None

    def train(self) -> Outcome:
        """Train, save and load as a study does, and compare with the network that was trained."""
        job = _job(self.name, self.size)
        if risky := in_deadly_format(self.name, build_paradigm(job, None).networks["student"]):
            return Outcome("crash", risky)
        images = _images(self.size)
        try:
            with torch.random.fork_rng():
                paradigm = build_paradigm(job, None)
                settings = TrainingSettings.from_config(**job.settings["training"])
                train(paradigm, images.images, images.labels, settings, seed=0)
            trained = paradigm.networks["student"].eval()
            store = ArtifactStore(str(self.folder / "store"))
            store.make()
            train_job(job, images, store)  # type: ignore[arg-type]
            loaded = load_network(store, job, "student")
        except InputError as error:
            return _refused(error)
        except Exception as error:
            line = _preflight_line(self.name, self.size)
            return Outcome("crash" if line is None else "refused", line or in_a_line(error))
        with torch.no_grad():
            given, back = (n(random_images(self.size)).activation_maps for n in (trained, loaded))
        error = relative_error(given, back)
        if not error <= 1e-5:
            return Outcome("wrong", f"saved and loaded, it differs by {error:.1e}")
        fresh = _network(self.name, self.size)
        if all(map(torch.equal, fresh.encoder.parameters(), loaded.encoder.parameters())):
            return Outcome("wrong", "training changed nothing")
        return Outcome("right")

    def pcm(self) -> Outcome:
        """Take a training step with the pixel correlation module."""
        try:
            network = _network(self.name, self.size, head="pcm")
            if risky := in_deadly_format(self.name, network):
                return Outcome("crash", risky)
            losses = (
                Single(network)
                .train()
                .losses(random_images(self.size), torch.eye(CLASSES)[:2], 0.0)
            )
            losses.total.backward()
        except InputError as error:
            return _refused(error)
        except Exception as error:
            line = _preflight_line(self.name, self.size, "pcm")
            return Outcome("crash" if line is None else "refused", line or in_a_line(error))
        return Outcome("right" if losses.total.isfinite() else "wrong")


def _alike(ours: Tensor, theirs: Tensor) -> bool:
    return relative_error(ours, theirs) < 10 * TOLERANCE


def _images(size: int) -> Images:
    pixels = (random_images(size, 2).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    return Images(pixels, np.eye(CLASSES, dtype=bool)[:2])
