"""Any timm model without its classifier as an encoder.

The map is that of timm's own `forward_features`, so final norm and head convolution are part of it,
and parameters keep the names of the whole model. Inner maps are those of `forward_intermediates`.
What a model gives, and in which layout, is measured on a random image when the encoder is made.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wsss_core.backbones.encoder import Encoder, evaluating
from wsss_core.backbones.layout import MapLayout, by_value, tensors_in
from wsss_core.backbones.names import Layer
from wsss_core.backbones.points import CamPoint, FoundModule, find_points
from wsss_core.errors import InputError


class WholeModel(Encoder):
    """A timm model as an encoder; by default its map is that of `forward_features`.

    The last layer is the encoder's own map. An inner layer's is timm's, which is normalised where
    all layers lie on one grid and timm can normalise them as it does the last (plain transformers).

    Args:
        extractor: a timm model without its classifier, in training mode; later stages are cut off
            where an inner stage is asked for.
        image_size: side of the images in pixels.
        feature_stage: a stage by its name or timm's index; None: the last.
        final_norm: whether the last stage's map comes after the model's final norm and head
            convolution.

    Raises:
        InputError: no such stage, or no map can be told from what the model gives. Errors of the
            model itself are passed on as they are.

    """

    def __init__(
        self,
        extractor: Any,
        image_size: int,
        feature_stage: Layer | None = None,
        *,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        info = list(getattr(extractor.feature_info, "info", extractor.feature_info))
        names = [str(stage["module"]) or str(number) for number, stage in enumerate(info)]
        self.layers = names
        if feature_stage is not None and feature_stage not in (*names, *range(len(names))):
            raise InputError(f"no stage {feature_stage!r}; it has {', '.join(names)}")
        self.stage = len(names) - 1 if feature_stage is None else self.layer_number(feature_stage)
        inner = self.stage < len(names) - 1
        if inner and not final_norm:
            raise InputError("final_norm is of the last stage; it has no meaning for an inner one")
        self.layers = names[: self.stage + 1]
        # Where CAMs take gradients of the final map, whichever way it was computed.
        self.final = nn.Identity()
        self._found: dict[tuple[int, int, int], FoundModule | None] = {}
        if inner or not final_norm:
            extractor.prune_intermediate_layers([self.stage], prune_norm=True)
        self._measure(image_size, whole=not inner and final_norm)

    @property
    def model(self) -> Any:
        """Return timm's model without its classifier and what was cut off."""
        return self.extractor

    def layer_number(self, layer: Layer) -> int:
        """Return the number of a stage, given by name, by timm's index or from the end.

        Raises:
            InputError: there is no such stage, or several of that name.

        """
        count = len(self.layers)
        if isinstance(layer, str) and (times := self.layers.count(layer)):
            if times > 1:
                same = [str(n) for n, name in enumerate(self.layers) if name == layer]
                raise InputError(
                    f"the layers {', '.join(same)} are all called {layer!r}; give a number"
                )
            return self.layers.index(layer)
        if isinstance(layer, int) and -count <= layer < count:
            return layer % count
        there = ", ".join(str(name) for name in self.layers)
        raise InputError(f"this network has no layer {layer!r}; it has {there}")

    def _measure(self, image_size: int, *, whole: bool) -> None:
        """Find out by a random image which maps there are, and in which layout the final one is."""
        image = _noise(1, image_size)
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            evaluating(self.extractor),
            _called(self.extractor) as called,
        ):
            ended, inner = self.extractor.forward_intermediates(
                image, indices=[*range(len(self.layers))], output_fmt="NCHW"
            )
            if len(inner) != len(self.layers):
                raise InputError(
                    f"timm lists {len(self.layers)} stages of this network and gives {len(inner)}"
                )
            self.normalises = False
            self.layout: MapLayout | None = None
            last = inner[-1]
            if whole:
                output = self.extractor.forward_features(image)
                normed = self._normalised(image, inner)
                self.layout = self._layout(output, last if normed is None else normed[-1])
                if self.layout is not None:
                    last = self.layout.as_map(self.layout.pick(output), image_size, image_size)
                    self.one_pass = _alike(output, ended)
                    if normed is not None and _alike(normed[-1], last):
                        self.normalises, inner = True, normed
                self.head_tensors = self._of_head_alone(output, frozenset(called))
        channels = [int(one.shape[1]) for one in inner]
        self.channels = [*channels[:-1], int(last.shape[1])]
        self.grid = (int(last.shape[-2]), int(last.shape[-1]))
        stem = getattr(self.extractor, "patch_embed", None)
        tokens = self.layout is not None and self.layout.axes != "NCHW"
        if tokens or self.resizable is not None or hasattr(stem, "patch_size"):
            # Of other sizes such a network takes multiples of its patch.
            self.size_multiple = max(1, image_size // self.grid[0])

    def _of_head_alone(self, output: Any, called: Collection[str]) -> frozenset[str]:
        """Return the names of the tensors that only the classifier needs.

        Args:
            output: of `forward_features`.
            called: the names of the modules that take part in it.

        """
        with _called(self.extractor) as in_head, contextlib.suppress(Exception):
            self.extractor.forward_head(output)  # what some need is no map
        alone = tuple(f"{name}." for name in in_head if name and name not in called)
        needed = tuple(f"{name}." for name in called if name)
        return frozenset(
            name
            for name in self.extractor.state_dict()
            if name.startswith(alone) and not name.startswith(needed)
        )

    def _normalised(self, image: Tensor, inner: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """Return all layers' maps after the final norm; None unless they share one grid."""
        if len(inner) < 2 or any(one.shape != inner[0].shape for one in inner):
            return None
        try:
            normed: Sequence[Tensor] = self.extractor.forward_intermediates(
                image,
                indices=[*range(len(inner))],
                norm=True,
                output_fmt="NCHW",
                intermediates_only=True,
            )
        except (AssertionError, RuntimeError):
            return None
        return normed

    def _layout(self, output: Any, last: Tensor) -> MapLayout | None:
        """Return where the final map lies in the model's output; None if it gives no map.

        Args:
            output: of `forward_features`.
            last: the map of the last stage as timm gives it, float [1, C, h, w].

        """
        if (known := by_value(output, last, exactly=False)) is not None:
            return known
        grid, channels = last.shape[-2:], {int(last.shape[1]), self.extractor.num_features}
        places = grid[0] * grid[1]
        prefix = getattr(self.extractor, "num_prefix_tokens", None)
        shapes = []
        for element, tensor in reversed([*tensors_in(output)]):
            shape = tuple(tensor.shape[1:])
            shapes.append(list(tensor.shape))
            if len(shape) == 3:
                said = str(getattr(self.extractor, "output_fmt", None) or "NCHW")
                axis = 0 if said.endswith("NCHW") else 2
                if shape[axis] in channels:
                    return MapLayout("NHWC" if axis else "NCHW", 0, element)
            if len(shape) == 2:
                extra = shape[0] - places
                if shape[1] in channels and extra >= 0 and prefix in (None, extra):
                    return MapLayout("NLC", extra, element)
                if shape[0] in channels and shape[1] == places:
                    return MapLayout("NCL", 0, element)
                if shape[1] in channels and shape[0] < min(places, 3):
                    return None  # class and distillation tokens alone, as of PiT
        raise InputError(
            f"no map can be told from the shapes {shapes} that forward_features gives; its last "
            f"stage has the shape {list(last.shape)}"
        )

    def channels_at(self, layer: Layer) -> int:
        """Return the channels of a stage, by its name or timm's index."""
        return self.channels[self.layer_number(layer)]

    def forward(self, images: Tensor) -> Tensor:
        """Return the map of images float [B, 3, H, W], float [B, C, h, w]."""
        if self.layout is None:
            (found,) = self._inner(images, [self.stage])
            return self._ended(found)
        return self._ended(self._read(self.extractor.forward_features(images), images))

    def with_taps(self, images: Tensor, taps: Sequence[Layer]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `Encoder`; the tapped stages have grids of their own."""
        stages = [self.layer_number(layer) for layer in taps]
        wanted = sorted({stage for stage in stages if stage != self.stage or self.layout is None})
        if self.layout is None:
            wanted = sorted({*wanted, self.stage})
            maps = dict(zip(wanted, self._inner(images, wanted), strict=True))
            final = self._ended(maps[self.stage])
        elif not wanted:
            maps, final = {}, self(images)
        else:
            # With the last stage, because some models stop after the last that is asked for.
            output, (*inner, _) = self.extractor.forward_intermediates(
                images, indices=[*wanted, self.stage], norm=self.normalises, output_fmt="NCHW"
            )
            if not self.one_pass:
                output = self.extractor.forward_features(images)
            maps = dict(zip(wanted, inner, strict=True))
            final = self._ended(self._read(output, images))
        return final, tuple({**maps, self.stage: final}[stage] for stage in stages)

    def _inner(self, images: Tensor, stages: Sequence[int]) -> list[Tensor]:
        found: list[Tensor] = self.extractor.forward_intermediates(
            images, indices=stages, output_fmt="NCHW", intermediates_only=True
        )
        return found

    def _read(self, output: Any, images: Tensor) -> Tensor:
        assert self.layout is not None
        return self.layout.as_map(self.layout.pick(output), images.shape[-2], images.shape[-1])

    def _ended(self, final: Tensor) -> Tensor:
        ended: Tensor = self.final(final)
        return ended

    def points(self, layers: Sequence[Layer], images: Tensor) -> list[CamPoint]:
        """See `Encoder`; the last layer's point is the final map itself."""
        height, width = images.shape[-2:]
        numbers = [self.layer_number(layer) for layer in layers]
        inner = {number for number in numbers if number != self.stage}
        new = sorted(number for number in inner if (number, height, width) not in self._found)
        if new:
            found = self._find(new, images)
            self._found |= {(number, height, width): found.get(number) for number in new}
        named = dict(self.extractor.named_modules())
        points = []
        for layer, number in zip(layers, numbers, strict=True):
            if number == self.stage:
                points.append(CamPoint(self.final))
            elif (at := self._found[number, height, width]) is not None:
                points.append(CamPoint(named[at.name], at.call, at.layout))
            else:
                raise InputError(
                    f"layer {layer!r}: no submodule gives this stage's map, so no gradient can be "
                    f"taken there; the last layer, {self.layers[-1]}, always has one"
                )
        return points

    def _find(self, numbers: list[int], images: Tensor) -> dict[int, FoundModule]:
        """Find the submodules that give some stages' maps, by a random image in evaluation."""
        noise = _noise(2, images.shape[-1], images.shape[-2]).to(images)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(self.extractor):
            found = self._find_in(numbers, noise)
            for number in numbers:
                if number not in found:
                    # Later modules may work in place on a map; stopped early, it is as it was.
                    found |= self._find_in([number], noise, stop_early=True)
        return found

    def _find_in(
        self, numbers: list[int], noise: Tensor, *, stop_early: bool = False
    ) -> dict[int, FoundModule]:
        maps = self.extractor.forward_intermediates(
            noise,
            indices=numbers,
            output_fmt="NCHW",
            intermediates_only=True,
            stop_early=stop_early,
        )
        wanted = {n: one.clone() for n, one in zip(numbers, maps, strict=True)}
        names = {n: str(self.layers[n]) for n in numbers}
        return find_points(self.extractor, lambda: self(noise), wanted, names)

    @property
    def resizable(self) -> nn.Module | None:
        """Return the timm model if it can be told another image size."""
        return self.extractor if hasattr(self.extractor, "set_input_size") else None


@contextmanager
def _called(model: nn.Module) -> Iterator[set[str]]:
    """Collect the names of the modules that are called."""
    names = set[str]()

    def see(name: str, *_: Any) -> None:
        names.add(name)

    handles = [
        module.register_forward_pre_hook(partial(see, name))
        for name, module in model.named_modules()
    ]
    try:
        yield names
    finally:
        for handle in handles:
            handle.remove()


def _noise(count: int, width: int, height: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, height or width, width, generator=generator)


def _alike(one: Any, other: Any) -> bool:
    ones, others = [*tensors_in(one)], [*tensors_in(other)]
    return len(ones) == len(others) and all(
        steps == others[n][0]
        and tensor.shape == others[n][1].shape
        and torch.allclose(tensor, others[n][1], rtol=1e-4)
        for n, (steps, tensor) in enumerate(ones)
    )
