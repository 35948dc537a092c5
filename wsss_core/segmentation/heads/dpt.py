"""A DPT-like head over four maps of a ViT of any patch.

DPT (Ranftl et al., ICCV 2021, arXiv 2103.13413) reassembles the tokens of four blocks into maps of
rising size and fuses them, the coarsest first. Its own code scales by fixed factors that suit a
patch of 16. Here each fusion takes the size of the finer map, so grids of any patch and odd sides
fit. Class and register tokens are left out, the paper's readout "ignore".
"""

from collections.abc import Sequence

from torch import Tensor, nn

from wsss_core.errors import InputError
from wsss_core.segmentation.segmenter import resized


class _Residual(nn.Module):
    """Two 3x3 convolutions with BatchNorm, each after a ReLU, added to their input (RefineNet)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = maps + self.layers(maps)
        return out


class _Fusion(nn.Module):
    """Adds a map to the coarser one so far, refines, enlarges it, and mixes its channels."""

    def __init__(self, width: int, *, first: bool) -> None:
        super().__init__()
        self.skip = None if first else _Residual(width)
        self.refine = _Residual(width)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, one: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.skip is not None and coarser is not None:
            one = coarser + self.skip(one)
        out: Tensor = self.mix(resized(self.refine(one), size))
        return out


class DptHead(nn.Module):
    """Reassembles four maps at 4, 2, 1 and 1/2 times the ViT's resolution and fuses them.

    Args:
        channels: C of the maps.
        classes: K, without the background.
        widths: channels of the four maps, the finest first.
        width: channels of the fusion.
        dropout: share of the channels before the classifier that are dropped in training.

    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        widths: Sequence[int] = (96, 192, 384, 768),
        width: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(widths) != 4 or min(*widths, width) < 1:
            raise InputError(f"widths: expected four numbers of 1 or more, got {list(widths)}")
        self.project = nn.ModuleList(nn.Conv2d(channels, one, 1) for one in widths)
        a, b, _, d = widths
        self.rescale = nn.ModuleList(
            [
                nn.ConvTranspose2d(a, a, 4, stride=4),
                nn.ConvTranspose2d(b, b, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(d, d, 3, stride=2, padding=1),
            ]
        )
        self.join = nn.ModuleList(nn.Conv2d(one, width, 3, padding=1, bias=False) for one in widths)
        self.fuse = nn.ModuleList(_Fusion(width, first=number == 3) for number in range(4))
        self.classify = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, classes + 1, 1),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [B, K + 1, 8 h, 8 w] of four maps [B, C, h, w], the first block first."""
        stages = [
            join(rescale(project(one)))
            for project, rescale, join, one in zip(
                self.project, self.rescale, self.join, maps, strict=True
            )
        ]
        sizes = [(int(stage.shape[-2]), int(stage.shape[-1])) for stage in stages]
        fused: Tensor | None = None
        for number in reversed(range(4)):
            rows, columns = sizes[0]
            size = sizes[number - 1] if number else (2 * rows, 2 * columns)
            fused = self.fuse[number](stages[number], fused, size)
        logits: Tensor = self.classify(fused)
        return logits
