"""Several classes under one background threshold, as PASCAL VOC scores them.

Each class's histograms are of competing levels (`compete`): a pixel is predicted as the class of
the highest score where that reaches the threshold, else as background. One threshold serves all
classes. Level 1 leaves no background, and level 0 stands for "nothing competes" and is never
chosen.

A threshold for each class is another way to cut the same maps: a pixel takes its highest class
where the score reaches the threshold of that class. The pixels of a class then follow from its own
histograms and its own threshold alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsss_core.errors import InputError
from wsss_core.evaluate.pixel_counts import SCORE_LEVELS, Curve
from wsss_core.evaluate.score_histogram import HistogramStack, ScoreHistogram
from wsss_core.evaluate.thresholds import Objective, member_named


@dataclass(frozen=True, eq=False)
class MultiClassStack:
    """The histograms of N images for K competing classes.

    Pooled figures are over the positive images, which hold any class, or over all images, as an
    accumulated confusion matrix of K + 1 classes has them (PASCAL VOC). Curves are float64 [256];
    entry 0 is NaN.

    Attributes:
        classes: name -> its stack of competing levels, the images in one order.
        any_class: the stack of the highest level against the mask of any class, the same images.

    Raises:
        InputError: no class, or stacks of different images.

    """

    classes: Mapping[str, HistogramStack]
    any_class: HistogramStack

    def __post_init__(self) -> None:
        if not self.classes:
            raise InputError("classes: expected at least one, got none")
        for name, stack in self.classes.items():
            if len(stack) != len(self.any_class):
                raise InputError(
                    f"class {name!r}: {len(stack)} images, expected {len(self.any_class)}"
                )

    @property
    def holds_any(self) -> NDArray[np.bool_]:
        """Return whether each image holds any class; bool [N]."""
        return self.any_class.holds_class

    def per_image_iou(self, name: str) -> Curve:
        """Return the mean IoU of a class over the images that hold it."""
        return _from_one(self.classes[name].per_image_iou())

    def dataset_iou(self, name: str, *, all_images: bool = False) -> Curve:
        """Return the IoU of a class over pooled pixels; NaN where it occurs in no image.

        Args:
            name: the class.
            all_images: pool all images; else those that hold any class.

        """
        if not self.classes[name].holds_class.any():
            return np.full(SCORE_LEVELS, np.nan)
        return _from_one(self.pooled(name, all_images=all_images).iou())

    def pooled(self, name: str, *, all_images: bool = False) -> ScoreHistogram:
        """Add up a class's pixels over all images, or over those that hold any class."""
        stack, holds = self.classes[name], self.holds_any
        if all_images:
            return stack.total()
        return ScoreHistogram(
            stack.foreground[holds].sum(axis=0), stack.background[holds].sum(axis=0)
        )

    def iou_with_background(self, name: str, *, all_images: bool = False) -> Curve:
        """Return the mean of a class's IoU and the background's over the same pixels."""
        of_class = self.dataset_iou(name, all_images=all_images)
        return (of_class + self.background_iou(all_images=all_images)) / 2

    def background_iou(self, *, all_images: bool = False) -> Curve:
        """Return the background's IoU over the same pixels; NaN where no image holds any class."""
        if not self.holds_any.any():
            return np.full(SCORE_LEVELS, np.nan)
        return _from_one(self.any_class.pooled(all_images=all_images).background_iou())

    def dataset_miou(self, *, all_images: bool = False) -> Curve:
        """Return the mean of the K classes' and the background's IoU; over all images VOC's mIoU.

        NaN where a class occurs in no image: a mean of the others would be another figure.
        """
        each = [self.dataset_iou(name, all_images=all_images) for name in self.classes]
        return np.mean([*each, self.background_iou(all_images=all_images)], axis=0)

    def measure(self, objective: Objective, name: str) -> Curve:
        """Return one class's curve of a measure."""
        if objective is Objective.PER_IMAGE_IOU:
            return self.per_image_iou(name)
        with_background = objective.figure == "dataset_miou"
        curve = self.iou_with_background if with_background else self.dataset_iou
        return curve(name, all_images=objective.over_all_images)

    def objective(self, objective: Objective | str) -> Curve:
        """Return the curve that decides a threshold for all classes: class means, or mIoU."""
        objective = member_named(Objective, "objective", objective)
        if objective.figure == "dataset_miou":
            return self.dataset_miou(all_images=objective.over_all_images)
        return np.mean([self.measure(objective, name) for name in self.classes], axis=0)

    def best_level(self, objective: Objective | str) -> int | None:
        """Return the smallest of the best levels 1..255; None where a class occurs in no image."""
        curve = self.objective(objective)
        return None if np.isnan(curve[1:]).any() else int(np.argmax(curve[1:])) + 1

    def own_levels(self, objective: Objective | str) -> dict[str, int | None]:
        """Return each class's own best level 1..255, by its own curve.

        None for a class that occurs in no image, and where the objective counts the background,
        which no class decides alone.
        """
        objective = member_named(Objective, "objective", objective)
        found: dict[str, int | None] = {}
        for name in self.classes:
            curve = self.measure(objective, name)[1:]
            decides = objective.figure != "dataset_miou" and not np.isnan(curve).any()
            found[name] = int(np.argmax(curve)) + 1 if decides else None
        return found

    def own_image_levels(self, name: str) -> NDArray[np.float64]:
        """Return a class's best level in each image that holds it; NaN in the others."""
        stack = self.classes[name]
        return np.where(stack.holds_class, stack.iou()[:, 1:].argmax(axis=1) + 1.0, np.nan)

    def image_levels(self) -> NDArray[np.float64]:
        """Return each image's best level by the mean IoU of its classes; NaN without any."""
        holds = np.stack([stack.holds_class for stack in self.classes.values()])  # [K, N]
        levels = self.image_sums()[:, 1:].argmax(axis=1) + 1.0
        return np.where(holds.any(axis=0), levels, np.nan)

    def image_sums(self) -> NDArray[np.float64]:
        """Return the sum of IoU over the classes that each image holds; float64 [N, 256]."""
        holds = np.stack([stack.holds_class for stack in self.classes.values()])  # [K, N]
        each = np.stack([stack.iou() for stack in self.classes.values()])  # [K, N, 256]
        summed: NDArray[np.float64] = (each * holds[..., np.newaxis]).sum(axis=0)
        return summed

    def with_images_of(
        self, other: "MultiClassStack", where: NDArray[np.bool_]
    ) -> "MultiClassStack":
        """Return the stacks with some images' histograms taken from another one; bool [N]."""
        return MultiClassStack(
            {
                name: stack.with_images_of(other.classes[name], where)
                for name, stack in self.classes.items()
            },
            self.any_class.with_images_of(other.any_class, where),
        )

    def cut_at(self, levels: NDArray[np.float64]) -> "MultiClassStack":
        """Move pixels that reach their image's level to level 255, the others to 0."""
        return MultiClassStack(
            {name: stack.cut_at(levels) for name, stack in self.classes.items()},
            self.any_class.cut_at(levels),
        )


def _from_one(curve: Curve) -> Curve:
    curve = curve.copy()
    curve[0] = np.nan
    return curve
