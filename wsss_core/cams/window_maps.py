"""CAMs of windows over pictures, comparable between the windows of a picture.

Maps that are put together from several scales, flips or layers are normalised one by one first (see
`wsss_core.cams.fusion`). Of windows, all maps of a picture are normalised together: on its own, a
window without the object would peak at 1 too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_core.backbones import Network, evaluating
from wsss_core.cams.multi_scale import (
    RawScores,
    check_encoder,
    check_image_stack,
    network_cams,
    raw_views,
)
from wsss_core.cams.settings import CamSettings
from wsss_core.data.network_input import to_input
from wsss_core.evaluate import resize
from wsss_core.out_of_memory import in_batches
from wsss_core.tiling import PictureWindows, normalise_windows

Views = list[NDArray[np.float32]]
"""Raw maps of every view, float32 [n, K, h, w] each, at its own grid."""


def window_cams(
    network: Network,
    batches: Iterable[NDArray[np.uint8]],
    windows: PictureWindows,
    settings: CamSettings | None = None,
    *,
    device: str = "cpu",
    batch_size: int = 64,
) -> RawScores:
    """Return CAMs and logits of windows; the network keeps its mode and goes to the device.

    The pixels of one batch are held at a time, and small maps of all windows.

    Args:
        network: see `network_cams`.
        batches: the pixels of the T windows in order, uint8 [n, S, S, 3] each.
        windows: where they lie.
        settings: how.
        device: where the network runs.
        batch_size: images a forward pass at scale 1; halved where memory runs out.

    Returns:
        Maps float16 [T, K, h, w], raw or, where `settings.normalised`, in 0..1 over each picture's
        windows together; logits float32 [T, K] of each window.

    Raises:
        InputError: as `network_cams`.

    """
    settings = settings or CamSettings()
    if not settings.normalised:
        found = [
            network_cams(network, pixels, settings, device=device, batch_size=batch_size)
            for pixels in batches
        ]
        return RawScores.joined(found)
    check_encoder(network, settings)
    network.to(device)
    layered = [replace(settings, layers=(layer,)) for layer in settings.layers] or [settings]
    gathered: list[list[list[NDArray[np.float32]]]] = []
    logits: list[NDArray[np.float32]] = []
    grid = (1, 1)
    for pixels in batches:
        check_image_stack(pixels)
        of_layers = [_views_of(network, pixels, one, device, batch_size) for one in layered]
        gathered.append([views for views, _, _ in of_layers])
        logits.append(of_layers[0][2])
        grid = of_layers[0][1]
    merged = [
        _fused([np.concatenate([batch[layer][view] for batch in gathered]) for layer in
                range(len(layered))], windows)
        for view in range(len(gathered[0][0]))
    ]  # fmt: skip
    maps = merged[0] if not settings.merged else _merged(merged, grid, settings, windows)
    shape = maps.shape[:2]
    return RawScores(
        resize(maps, grid).astype(np.float16), np.concatenate(logits), np.ones(shape, np.float32)
    )


def _views_of(
    network: Any, pixels: NDArray[np.uint8], settings: CamSettings, device: str, batch_size: int
) -> tuple[Views, tuple[int, int], NDArray[np.float32]]:
    """Return the raw maps of every view of some windows, the grid of scale 1, and logits."""
    grids: list[tuple[int, int]] = []

    def of(part: slice, size: int) -> list[NDArray[np.float32]]:
        views, grid, said = raw_views(network, to_input(pixels[part], device), settings, size)
        grids.append(grid)
        return [one.float().cpu().numpy() for one in (*views, said)]

    what = f"CAMs by {settings.method} of windows of {pixels.shape[2]} px"
    with torch.inference_mode(False), torch.no_grad(), evaluating(network):
        made = in_batches(of, len(pixels), batch_size, device=device, what=what)
    *views, logits = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return views, grids[-1], logits


def _fused(members: Sequence[NDArray[np.float32]], windows: PictureWindows) -> NDArray[np.float32]:
    """Fuse the maps of layers as `wsss_core.cams.fusion.fuse` does; a single one stays raw."""
    if len(members) == 1:
        return members[0]
    largest = max(members, key=lambda maps: maps[0, 0].size).shape[-2:]
    scaled = [resize(normalise_windows(maps, windows, "min_max"), largest) for maps in members]
    return normalise_windows(np.mean(scaled, axis=0), windows, "min_max")


def _merged(
    views: Sequence[NDArray[np.float32]],
    grid: tuple[int, int],
    settings: CamSettings,
    windows: PictureWindows,
) -> NDArray[np.float32]:
    """Merge the maps of scales and flips as `wsss_core.cams.fusion.merge` does."""
    if settings.merge == "sum_max":
        total = np.sum([resize(np.maximum(maps, 0), grid) for maps in views], axis=0)
        return normalise_windows(total, windows, "max")
    scaled = [resize(normalise_windows(maps, windows, "min_max"), grid) for maps in views]
    mean: NDArray[np.float32] = np.mean(scaled, axis=0)
    return mean
