"""What of two networks is aligned, and the learnable projection that lets the shapes meet.

Representations (arXiv 2507.21959, comparison of transferred shapes):

- `feature`: the feature maps. A 1x1 convolution, part of the student, maps its channels to the
  teacher's.
- `activation_map`: the class activation maps, K channels on both sides, so nothing is projected.
  With `projection="conv1x1"` the student's features are mapped to the K channels instead, which
  is what the thesis code does.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from wsss_core.backbones import Network, Output
from wsss_core.errors import InputError
from wsss_core.transfer.losses import LEVELS, METRICS, VARIANTS, known_name, transfer_loss

Representation = Literal["feature", "activation_map"]
Projection = Literal["conv1x1", "none"]
REPRESENTATIONS: tuple[str, ...] = get_args(Representation)
PROJECTIONS: tuple[str, ...] = get_args(Projection)
DEFAULT_PROJECTION = {"feature": "conv1x1", "activation_map": "none"}


class Alignment(nn.Module):
    """L_tf between a student and a teacher.

    Args:
        student: the network whose projection is learned.
        teacher: the network it is aligned with.
        metric: see `transfer_loss`.
        level: see `transfer_loss`.
        variant: see `transfer_loss`.
        representation: "feature" or "activation_map".
        projection: "conv1x1" or "none"; by default what the representation needs.

    Raises:
        InputError: an unknown name, or numbers of channels that do not meet without a projection.

    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        *,
        metric: str,
        level: str,
        variant: str = "scaled",
        representation: str = "feature",
        projection: str | None = None,
    ) -> None:
        super().__init__()
        self.metric = known_name("metric", metric, METRICS)
        self.level = known_name("level", level, LEVELS)
        self.variant = known_name("variant", variant, VARIANTS)
        self.representation = known_name("representation", representation, REPRESENTATIONS)
        if projection is None:
            projection = DEFAULT_PROJECTION[self.representation]
        projection = known_name("projection", projection, PROJECTIONS)
        of_features = self.representation == "feature"
        target = teacher.channels if of_features else teacher.classes
        source = student.channels if of_features else student.classes
        all_pairs = (self.metric, self.level, self.variant) == ("cosine", "channel", "thesis")
        if projection == "conv1x1":
            source = student.channels
        elif source != target and not all_pairs:
            raise InputError(
                f"projection: 'none' cannot align {source} channels of the student with "
                f"{target} of the teacher ({self.representation}); use 'conv1x1'"
            )
        self.projection = nn.Conv2d(source, target, 1) if projection == "conv1x1" else None

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """The scalar L_tf of one batch; the gradient flows into both outputs."""
        if self.representation == "feature":
            source, target = student.features, teacher.features
        else:
            source, target = student.activation_maps, teacher.activation_maps
        if self.projection is not None:
            source = self.projection(student.features)
        return transfer_loss(
            source, target, metric=self.metric, level=self.level, variant=self.variant
        )
