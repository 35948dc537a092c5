"""Writing maps of a network that stays as it is: each image once for each view, into files.

A file is written batch by batch and read memory-mapped, so no set of images is in memory whole.
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_core.augmentation import mirror
from wsss_core.backbones import Layer, Network, Output, evaluating
from wsss_core.cams import resized_for
from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError
from wsss_core.out_of_memory import in_batches

FEATURES_FILE = "features.npy"
_ABOUT = "outputs.json"
_LARGEST = float(np.finfo(np.float16).max)


def check_float16(values: np.ndarray, dtype: str, what: str) -> None:
    """Raise InputError if numbers are not finite, or not in the range of the type they are kept in.

    Args:
        values: float32.
        dtype: "float16" or "float32".
        what: names them in the error.

    """
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise InputError(f"{what} are not finite; expected a network of finite weights")
    if dtype == "float16" and largest > _LARGEST:
        raise InputError(
            f"{what} reach {largest:.3g}, beyond float16 ({_LARGEST:.0f}); keep them as float32 "
            "(`caches` of the study)"
        )


def make_features(
    network: Network,
    images: np.ndarray,
    file: Path,
    *,
    side: int,
    mirrored: bool,
    dtype: str = "float16",
    device: str = "cpu",
    batch_size: int = 32,
) -> None:
    """Write the encoder's maps of images to a file of NumPy's, float [N, C, h, w].

    Args:
        network: it keeps its mode and is on the device; its neck and head play no part.
        images: uint8 [N, S, S, 3].
        file: the file, replaced if it exists.
        side: of the square that images are resized to before the encoder, in pixels; S: they stay.
        mirrored: whether they are mirrored left to right after that. The maps are not turned back.
        dtype: "float16" or "float32".
        device: where the encoder runs, in float32.
        batch_size: images a forward pass; halved where memory runs out.

    Raises:
        InputError: maps that are not finite, or beyond float16.

    """
    stored: list[np.ndarray] = []
    size = images.shape[1]
    network.to(device)
    model = network.encoder.resizable if side != size else None

    def of(part: slice, _: int) -> None:
        pixels = to_input(images[part], device)
        if side != size:
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False)
        if mirrored:
            pixels = pixels.flip(-1)
        found = network.encoder((pixels - network.mean) / network.std).float().cpu().numpy()
        check_float16(found, dtype, "features of the frozen encoder")
        if not stored:
            shape = (len(images), *found.shape[1:])
            stored.append(np.lib.format.open_memmap(file, "w+", np.dtype(dtype), shape))
        stored[0][part] = found

    what = f"features of images of {side} x {side} px"
    resized = nullcontext() if model is None else resized_for(model, side)
    with torch.inference_mode(False), torch.no_grad(), evaluating(network), resized:
        in_batches(of, len(images), batch_size, device=device, what=what)
    stored[0].flush()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class StoredOutputs:
    """What a network answered for N images in one view.

    Attributes:
        exact: whether an image's answer was the same, to the bit, in batches of other images. Where
            it was not, and the answers were to be kept as float32, none are kept.
        shapes: part -> the shape of an image's answer, without N.
        dtypes: part -> the type that the network gave, such as "bfloat16".
        arrays: part -> memory-mapped [N, ...], of the parts that are kept.

    """

    exact: bool
    shapes: dict[str, list[int]]
    dtypes: dict[str, str]
    arrays: dict[str, np.ndarray]


def parts_of(output: Output) -> dict[str, Tensor]:
    """Return an answer's parts by name; taps are tap_0, tap_1, ..."""
    parts = {name: getattr(output, name) for name in ("features", "activation_maps", "logits")}
    return {**parts, **{f"tap_{n}": tap for n, tap in enumerate(output.taps)}}


def make_outputs(
    network: Any,
    images: np.ndarray,
    folder: Path,
    *,
    mirrored: bool,
    taps: Sequence[Layer],
    parts: Sequence[str],
    batch_size: int,
    dtype: str = "float32",
    autocast: bool = False,
    device: str = "cpu",
) -> bool:
    """Write a network's answers to a folder; return whether they do not depend on the batch.

    Args:
        network: a `Network` or a plug-in like it, put into evaluation mode meanwhile.
        images: uint8 [N, S, S, 3].
        folder: holds the files then.
        mirrored: whether images are mirrored left to right.
        taps: the layers that it is asked for besides.
        parts: the parts that are kept, see `parts_of`.
        batch_size: images a forward pass, as training has it.
        dtype: "float32" keeps what the network gave to the bit, or, where that depends on the
            batch, nothing. "float16" rounds.
        autocast: whether it runs under bfloat16 autocast.
        device: where it runs.

    Raises:
        InputError: answers that are not finite, or beyond float16.

    """
    stored: dict[str, np.ndarray] = {}
    shapes: dict[str, list[int]] = {}
    dtypes: dict[str, str] = {}
    network.to(device)

    def ask(places: Any, *, as_in_training: bool = False) -> dict[str, Tensor]:
        pixels = to_input(images[places], device)
        if as_in_training:  # which mirrors a part of a batch, and so lays it out otherwise
            pixels = mirror(pixels, np.full(len(pixels), mirrored))
        elif mirrored:
            pixels = pixels.flip(-1)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=autocast):
            return parts_of(network(pixels, tuple(taps)))

    def of(part: slice, _: int) -> None:
        for name, tensor in ask(part).items():
            found = tensor.float().cpu().numpy()
            if not shapes.get(name):
                shapes[name] = list(found.shape[1:])
                dtypes[name] = str(tensor.dtype).removeprefix("torch.")
            if name not in parts:
                continue
            check_float16(found, dtype, f"{name} of the frozen teacher")
            if name not in stored:
                shape, file = (len(images), *found.shape[1:]), folder / f"{name}.npy"
                stored[name] = np.lib.format.open_memmap(file, "w+", np.dtype(dtype), shape)
            stored[name][part] = found

    what = f"the teacher's maps of images of {images.shape[2]} x {images.shape[1]} px"
    with torch.inference_mode(False), torch.no_grad(), evaluating(network):
        in_batches(of, len(images), batch_size, device=device, what=what)
        exact = dtype == "float32" and all(
            np.array_equal(stored[name][places], tensor.float().cpu().numpy())
            for places in _other_batches(len(images), batch_size)
            for as_in_training in (False, True)
            for name, tensor in ask(places, as_in_training=as_in_training).items()
            if name in stored
        )
    for name, array in stored.items():
        array.flush()  # type: ignore[attr-defined]
        if dtype == "float32" and not exact:
            (folder / f"{name}.npy").unlink()
    about = asdict(StoredOutputs(exact, shapes, dtypes, {}))
    (folder / _ABOUT).write_text(json.dumps(about))
    return exact


def read_outputs(folder: Path) -> StoredOutputs:
    """Return what `make_outputs` wrote, memory-mapped."""
    about = json.loads((folder / _ABOUT).read_text())
    arrays = {
        name: np.load(file, mmap_mode="r", allow_pickle=False)
        for name in about["shapes"]
        if (file := folder / f"{name}.npy").exists()
    }
    return StoredOutputs(**{**about, "arrays": arrays})


def _other_batches(count: int, batch_size: int) -> list[np.ndarray]:
    """Return batches of the sizes that a step may take, of images in another order."""
    random = np.random.default_rng(0)
    sizes = {min(count, batch_size), count % batch_size or batch_size, (batch_size + 1) // 2}
    return [random.permutation(count)[: min(count, size)] for size in sorted(sizes)]
