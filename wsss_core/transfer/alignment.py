"""The transfer loss L_tf between two networks: layers, representation, projection, distance."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wsss_core.backbones import Network, Output, cell_weights
from wsss_core.errors import InputError, as_input_error
from wsss_core.plugins import is_plugin
from wsss_core.transfer.aligned_layers import (
    AlignedLayers,
    attention_width,
    block_number,
    check_alignment,
    heard_sides,
    layer_cell_side,
)
from wsss_core.transfer.attention_maps import attention_map, of_mean_one
from wsss_core.transfer.evidence import by_image, chosen_cells, without_padding
from wsss_core.transfer.grids import on_grid_of, over_same_pixels
from wsss_core.transfer.losses import transfer_loss
from wsss_core.transfer.names import (
    ALIGNMENT_METRICS,
    OF_MORE_THAN_MAPS,
    PROJECTIONS,
    RELATIONS,
    REPRESENTATIONS,
    TRANSFER_LEVELS,
    VARIANTS,
    known_name,
)
from wsss_core.transfer.relations import (
    LogitBranch,
    PartialCrossAttention,
    VariationalInformation,
    one_for_all,
    relation_loss,
)
from wsss_core.transfer.relations.batches import image_embeddings, no_loss
from wsss_core.transfer.relations.by_name import OF_EMBEDDINGS, ON_ONE_GRID
from wsss_core.transfer.representations import (
    DEFAULT_PROJECTION,
    build_projection,
    represent,
    steadied,
    vector_length,
)


class Alignment(nn.Module):
    """L_tf = sum over layer pairs of weight * transfer_loss(P(S), T).

    Args:
        student: the network whose projection is learned.
        teacher: the network it is aligned with.
        metric: see `transfer_loss`, or a relation, see `wsss_core.transfer.relations`; "kl",
            "dist", "kl_standardised" and "ofa" compare logits alone. The relations that are defined
            on embeddings (RKD, PKT, CC) take the mean of features over locations; all others take
            maps whole. "ofa" gives each layer of the student that `layers` names a branch of its
            own, by default the final one.
        level: see `transfer_loss`; "global" for a relation.
        variant: see `transfer_loss`.
        representation: see `wsss_core.transfer.representations`, or a plug-in
            f(features, output) -> map [B, C', h', w'].
        projection: see `build_projection`; by default what the representation needs, and none for
            a relation other than VID, whose sides need not have equal channels. With one,
            activation maps of the student are its features projected to K channels (as in the
            thesis's code); spatial maps and Gram matrices are made of projected features.
        layers: pairs of layers, as mappings with student, teacher and weight; by default the final
            features of both.
        temperature: T of the metrics of logits.
        gamma: of "ofa", see `one_for_all`; None: as published.

    Attributes:
        student_taps: the layers that the student's `Network.forward` has to return.
        teacher_taps: the same of the teacher's.
        hears: whether the attention of the student's blocks is needed, and of the teacher's, see
            `wsss_core.backbones.attending.with_attention`.

    Raises:
        InputError: an unknown name or layer, or shapes that cannot meet; the error names them.

    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        *,
        metric: str,
        level: str = "global",
        variant: str = "scaled",
        representation: str = "feature",
        projection: str | None = None,
        layers: Sequence[Mapping[str, Any]] | None = None,
        temperature: float = 1.0,
        gamma: float | None = None,
    ) -> None:
        super().__init__()
        self.metric = known_name("metric", metric, ALIGNMENT_METRICS)
        self.level = known_name("level", level, TRANSFER_LEVELS)
        self.variant = known_name("variant", variant, VARIANTS)
        self.representation = known_name("representation", representation, REPRESENTATIONS)
        self.temperature = temperature
        self._gamma = {} if gamma is None else {"gamma": gamma}
        if projection is None:
            needed = DEFAULT_PROJECTION.get(self.representation, "none")
            projection = "none" if self._channels_need_not_meet() else needed
        self.projection_name = known_name("projection", projection, PROJECTIONS)
        self.pairs = [AlignedLayers(**pair) for pair in layers or [{}]]
        self._represent = represent(self.representation)
        check_alignment(self.metric, self.level, self.representation, self.projected, self.pairs)
        self._sides = [
            (layer_cell_side(student, pair.student), layer_cell_side(teacher, pair.teacher))
            for pair in self.pairs
        ]
        self.hears = heard_sides(self.metric, self.representation, self.projected, student, teacher)
        self._blocks = [
            (block_number(student, pair.student), block_number(teacher, pair.teacher))
            for pair in self.pairs
        ]
        # The attention of a block is heard, and needs no map of that block.
        self._untapped = self.representation == "attention" and self.hears[0], self.hears[1]
        students, teachers = [p.student for p in self.pairs], [p.teacher for p in self.pairs]
        self.student_taps = () if self._untapped[0] else _named(students)
        self.teacher_taps = () if self._untapped[1] else _named(teachers)
        self.projections, self.variances = nn.ModuleList(), nn.ModuleList()
        self.projectors = nn.ModuleList()  # of the relations of more than two maps
        for pair in self.pairs:
            self._build(pair, student, teacher)

    def _build(self, pair: AlignedLayers, student: Network, teacher: Network) -> None:
        """Add the parts of a pair of layers that learn."""
        source, target = student.channels_at(pair.student), teacher.channels_at(pair.teacher)
        if self.metric == "ofa":
            width = max(source, target)
            self.projectors.append(LogitBranch(source, width, teacher.classes))
            return
        if self.metric == "cross_attention":
            width = attention_width(teacher, pair.teacher)
            self.projectors.append(PartialCrossAttention(source, width))
            return
        if self.representation == "activation_map":
            target = teacher.classes
            source = source if self.projected else student.classes
        self._check_channels(pair, source, target)
        module = build_projection(self.projection_name, source, target)
        self.projections.append(nn.Identity() if module is None else module)
        if self.metric == "vid":
            self.variances.append(VariationalInformation(self._channels_of(teacher, target)))

    @property
    def projected(self) -> bool:
        """Return whether the student's features go through a projection."""
        return self.projection_name != "none"

    def _channels_need_not_meet(self) -> bool:
        return self.metric in RELATIONS and self.metric != "vid"

    def _channels_of(self, teacher: Network, features: int) -> int:
        """Return the channels of the teacher's map that is compared."""
        fixed = {"logits": teacher.classes, "activation_map": teacher.classes}
        fixed |= {"spatial_map": 1, "attention": 1}
        return fixed.get(self.representation, features)

    def _check_channels(self, pair: AlignedLayers, source: int, target: int) -> None:
        all_pairs = (self.metric, self.level, self.variant) == ("cosine", "channel", "thesis")
        meets = self.representation in ("spatial_map", "attention", "logits")
        meets = meets or is_plugin(self.representation)
        meets = meets or all_pairs or self._channels_need_not_meet()
        if not self.projected and source != target and not meets:
            raise InputError(
                f"projection: 'none' cannot align {source} channels of the student with "
                f"{target} of the teacher ({self.representation}, layers {pair}); "
                "use 'conv1x1' or 'mlp'"
            )

    def forward(
        self,
        student: Output,
        teacher: Output,
        size: tuple[int, int] | None = None,
        valid: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Return the scalar L_tf of one batch; the gradient flows into both outputs.

        Args:
            student: of the student.
            teacher: of the teacher, for the same images.
            size: (H, W) of the images in pixels, by which maps are laid over the pixels that their
                cells stand for; None: every map is taken for the whole image.
            valid: float [B, 1, H, W], 0 on padding, whose cells are compared with nothing, see
                `wsss_core.transfer.evidence`; None: there is no padding.
            labels: float [B, K] in 0..1, image-level; "ofa" needs them.

        """
        of_student, of_teacher = iter(student.taps), iter(teacher.taps)
        total = self._of_logits(student.logits, teacher, labels) if self.metric == "ofa" else None
        for number, pair in enumerate(self.pairs):
            final = pair.student is None or self._untapped[0]
            features = student.features if final else next(of_student)
            final = pair.teacher is None or self._untapped[1]
            target = teacher.features if final else next(of_teacher)
            if self.metric in OF_MORE_THAN_MAPS:
                loss = pair.weight * self._projected(number, features, teacher, size, valid, labels)
                total = loss if total is None else total + loss
                continue
            grids = [features.shape[-2:], target.shape[-2:]]
            features = self.projections[number](features)
            cells = self._cells(number, valid, features, target)
            if cells is not None and self.representation == "gram":
                features = without_padding(features, cells[0])
                target = without_padding(target, cells[1])
            if self.representation == "activation_map" and self.projected:
                own = features
            else:
                own = self._map(number, 0, features, student)
            aim = self._map(number, 1, target, teacher)
            if cells is not None and self.representation == "attention":
                own, aim = of_mean_one(own, cells[0]), of_mean_one(aim, cells[1])
            if (self.metric, self.representation) == ("cosine", "spatial_map"):
                own, aim = steadied(own, features), steadied(aim, target)
            on_grids = own.ndim == aim.ndim == 4 and [own.shape[-2:], aim.shape[-2:]] == grids
            by_place = self.metric in ON_ONE_GRID or self.metric not in RELATIONS
            if size is not None and on_grids and by_place:
                own, aim = over_same_pixels(own, aim, self._sides[number], size)
            if cells is not None and on_grids:
                distance = self._on_evidence(number, own, aim, cells)
            else:
                distance = self._distance(number, own, aim)
            loss = pair.weight * distance
            total = loss if total is None else total + loss
        assert total is not None
        return total

    def _map(self, number: int, side: int, features: Tensor, output: Output) -> Tensor:
        """Return the map that is compared, of the student (side 0) or the teacher (1)."""
        if self.representation == "attention" and self.hears[side]:
            return attention_map(output, self._blocks[number][side])
        return self._represent(features, output)

    def _projected(
        self,
        number: int,
        features: Tensor,
        teacher: Output,
        size: tuple[int, int] | None,
        valid: Tensor | None,
        labels: Tensor | None,
    ) -> Tensor:
        """Return the loss of the student's features behind a projector of their own."""
        projector, (own, other) = self.projectors[number], self._sides[number]
        if self.metric == "ofa":
            grid = (features.shape[-2], features.shape[-1])
            cells = None if valid is None else cell_weights(valid, grid, own)
            return self._of_logits(projector(features, cells), teacher, labels)
        grid = (teacher.features.shape[-2], teacher.features.shape[-1])
        features = on_grid_of(features, teacher.features, (own, other), size)
        part, prefix = teacher.attention[self._blocks[number][1]].alone(grid)
        counted = None if valid is None else chosen_cells(cell_weights(valid, grid, other))
        loss: Tensor = projector(features, part, prefix, counted)
        return loss

    def _of_logits(self, logits: Tensor, teacher: Output, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise InputError("metric 'ofa' needs the labels of the images")
        with torch.autocast(logits.device.type, enabled=False):
            return one_for_all(
                logits, teacher.logits, labels, temperature=self.temperature, **self._gamma
            )

    def _cells(
        self, number: int, valid: Tensor | None, student: Tensor, teacher: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Return which cells of two maps are no padding, bool [B, h, w] each."""
        if valid is None:
            return None
        own, other = (
            chosen_cells(cell_weights(valid, (maps.shape[-2], maps.shape[-1]), side))
            for maps, side in zip((student, teacher), self._sides[number], strict=True)
        )
        return own, other

    def _on_evidence(
        self, number: int, student: Tensor, teacher: Tensor, cells: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return the distance of two maps over the cells that are no padding."""
        if self.metric in RELATIONS and self.metric not in ON_ONE_GRID:
            embedded = self.metric in OF_EMBEDDINGS and self.representation == "feature"
            of = "values" if embedded else "products"
            return self._distance(
                number,
                without_padding(student, cells[0], of=of),
                without_padding(teacher, cells[1], of=of),
            )
        found = [
            self._distance(number, own, other) for own, other in by_image(student, teacher, cells)
        ]
        return torch.stack(found).mean() if found else no_loss(student, teacher)

    def _distance(self, number: int, student: Tensor, teacher: Tensor) -> Tensor:
        pair = self.pairs[number]
        # The cosine of vectors of length 1 is a mere sign.
        if self.metric == "cosine" and vector_length(student.shape, self.level) == 1:
            raise InputError(
                f"the cosine of single numbers has no gradient: {self.representation} "
                f"{list(student.shape)} at level {self.level} has vectors of length 1; use another "
                "level, or kl, l1 or l2"
            )
        with as_input_error(f"{self.representation}, layers {pair}", InputError):
            if self.metric == "vid":
                loss: Tensor = self.variances[number](student, teacher)
                return loss
            if self.metric in RELATIONS:
                if self.metric in OF_EMBEDDINGS and self.representation == "feature":
                    student, teacher = image_embeddings(student), image_embeddings(teacher)
                return relation_loss(
                    student, teacher, relation=self.metric, temperature=self.temperature
                )
            return transfer_loss(
                student,
                teacher,
                metric=self.metric,
                level=self.level,
                variant=self.variant,
                temperature=self.temperature,
            )


def _named(layers: Sequence[str | int | None]) -> tuple[str | int, ...]:
    return tuple(layer for layer in layers if layer is not None)
