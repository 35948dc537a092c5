"""Weights from a file into a timm model, with every misfit named before anything is trained.

Files bear timm's names or the names of a network's authors, which timm itself translates, those of
transformers for CLIP, and often a prefix of the framework that trained them. What is loaded is all
of the network or, if asked for, a part that is counted.
"""

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from wsss_core.backbones.position_embedding import fit_position_embedding
from wsss_core.backbones.weights_file import clip_as_timm, read_weights
from wsss_core.errors import InputError, as_input_error

State = dict[str, Tensor]

_PREFERRED = ("teacher", "ema", "target_encoder")
"""Of networks that were trained side by side, the averaged one, as their authors evaluate it."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_FILTERS = (
    "checkpoint_filter_fn",
    "checkpoint_filter_fn_encoder",
    "_filter_fn",
    "_filter_torchvision_pretrained",
)
"""What timm's modules call the function that translates other names of tensors into theirs."""


@dataclass(frozen=True)
class LoadedWeights:
    """What a weights file gave a network.

    Attributes:
        file: the file.
        expected: how many tensors the network has, counters of batches and what only a classifier
            needs left out.
        missing: the names of those that the file lacks; they keep their values.

    """

    file: Path
    expected: int
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.missing:
            return f"all {self.expected} tensors come from {self.file.name}"
        return (
            f"{self.expected - len(self.missing)} of {self.expected} tensors come from "
            f"{self.file.name}; the rest start at random: {_first_three(self.missing)}"
        )


def load_weights(
    model: Any,
    file: str | Path,
    *,
    partial: bool = False,
    digest: str | None = None,
    position_grid: Sequence[int] | None = None,
    head: Collection[str] = (),
) -> LoadedWeights:
    """Load a file into a timm encoder; what the encoder lacks (a head, later stages) is left out.

    Position embeddings, relative ones too, and patch embeddings of another size are resampled as
    timm does. Numbers of other precisions are converted to the model's.

    Args:
        model: the timm model, an nn.Module; changed in place.
        file: see `read_weights`.
        partial: accept that the file lacks some of the model's tensors; they keep their values.
        digest: the digest that the file must have; None: any.
        position_grid: rows and columns of the file's position embedding; None: a square.
        head: names of tensors that a classifier alone needs; a file may lack them, or hold others.

    Raises:
        InputError: shapes that differ or tensors that are missing, the first three named; values
            that are not finite or no real numbers; several networks in one file; another digest.

    """
    state = clip_as_timm(read_weights(file, digest))
    everything = model.state_dict()
    own = {
        name: value
        for name, value in everything.items()
        if not name.endswith("num_batches_tracked") and name not in head
    }
    found = _mapped(state, own, model, file, position_grid)
    wrong = [
        f"{name} is {list(found[name].shape)} in the file, {list(value.shape)} in the model"
        for name, value in own.items()
        if name in found and found[name].shape != value.shape
    ]
    if wrong:
        ends = ""
        if all("pos" in one.partition(" ")[0] for one in wrong):
            ends = "; timm resamples none of these, so give images of the size of the weights"
        raise InputError(f"weights file {file} does not fit: {_first_three(wrong)}{ends}")
    missing = tuple(name for name in own if name not in found)
    if missing and (not partial or len(missing) == len(own)):
        raise InputError(
            f"weights file {file} lacks {_first_three(missing)}: {len(own)} tensors expected, "
            f"{len(own) - len(missing)} found; the file's names begin with {_beginnings(state)}"
            + (
                "; set partial_weights: true to start the others at random"
                if len(missing) < len(own)
                else ""
            )
        )
    taken = {name: found[name] for name in own if name in found}
    _check_values(taken, own, file)
    others = {
        name: value
        for name, value in found.items()
        if name.endswith("num_batches_tracked")
        or (name in head and value.shape == everything[name].shape and bool(value.isfinite().all()))
    }
    model.load_state_dict({**taken, **others}, strict=False)
    return LoadedWeights(Path(file), len(own), missing)


def _mapped(
    state: State,
    own: Mapping[str, Tensor],
    model: Any,
    file: str | Path,
    position_grid: Sequence[int] | None,
) -> State:
    """Return the file's tensors by the model's names: as they are, or translated by timm."""
    direct = _without(state, _chosen_prefix(state, own, file))
    with as_input_error(f"weights file {file}", InputError):
        fitted = fit_position_embedding(direct, model, position_grid)
    best, translate = fitted, _translation(model)
    if translate is None or _fitting(best, own) == len(own):
        return best
    # timm takes embeddings for squares.
    parts = [fitted] if position_grid else [*_parts(state), direct, fitted]
    # Translations look a tensor's module up, which fails for stages that were cut off.
    parts += [{n: v for n, v in part.items() if not _is_cut_off(n, model)} for part in parts]
    for part in parts:
        translated = _tried(translate, part, model)
        # A few names alike do not show that a file is of this network.
        if _fitting(translated, own) > max(_fitting(best, own), len(own) // 2):
            best = translated
    return best


def _chosen_prefix(state: State, own: Mapping[str, Tensor], file: str | Path) -> str:
    """Return the prefix under which a file has the most names of the model, "" if it has none.

    Under another prefix than "" most of the names have to be the model's, or most of the model's
    have to be there: `blocks.0.norm.weight` alone is no `norm.weight`. Of networks that were
    trained side by side an averaged one is taken.

    Raises:
        InputError: two fit equally well.

    """
    under, matching = Counter[str](), Counter[str]()
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            prefix = "".join(f"{part}." for part in parts[:start])
            under[prefix] += 1
            matching[prefix] += ".".join(parts[start:]) in own
    fits = {
        prefix: count
        for prefix, count in matching.items()
        if count and (not prefix or 2 * count >= min(under[prefix], len(own)))
    }
    best = [prefix for prefix, count in fits.items() if count == max(fits.values())]
    if not best or "" in best:
        return ""
    best = [p for p in best if any(word in p for word in _PREFERRED)] or best
    if len(best) > 1:
        one = Path(file).with_name(f"{Path(file).stem}_{best[0].strip('.')}.pth")
        raise InputError(
            f"weights file {file} holds this network {len(best)} times, under "
            f"{' and '.join(map(repr, best))}; save one of them: import torch; from "
            f"wsss_core.backbones import read_weights; state = read_weights({str(file)!r}); "
            "torch.save({name: value for name, value in state.items() if "
            f"name.startswith({best[0]!r})}}, {str(one)!r})"
        )
    return best[0]


def _without(state: State, prefix: str) -> State:
    """Return the tensors under a prefix, without it."""
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def _fitting(state: State, own: Mapping[str, Tensor]) -> int:
    """Return how many tensors of the model are in a state dict in its shapes."""
    return sum(name in state and state[name].shape == value.shape for name, value in own.items())


def _is_cut_off(name: str, model: nn.Module) -> bool:
    """Return whether a tensor is of a later member of one of a model's lists than there are."""
    module = model
    for part in name.split(".")[:-1]:
        if part not in module._modules:
            if not isinstance(module, nn.ModuleList | nn.Sequential):
                return False
            return part.isdecimal() and int(part) >= len(module._modules)
        module = module.get_submodule(part)
    return False


def _parts(state: State) -> Iterator[State]:
    """Yield a file's tensors as they are, then without each prefix that all of them share."""
    yield state
    while len(shared := {name.partition(".")[0] for name in state if "." in name}) == 1:
        if not all("." in name for name in state):
            return
        state = _without(state, f"{shared.pop()}.")
        yield state


def _translation(model: Any) -> Callable[..., Any] | None:
    """Return the function by which timm translates published weights of this model, if any."""
    config = getattr(model, "pretrained_cfg", None) or {}
    name = str(config.get("architecture", ""))
    if not timm.is_model(name):
        return None
    module = sys.modules[timm.model_entrypoint(name).__module__]
    found = next((getattr(module, one) for one in _FILTERS if hasattr(module, one)), None)
    if found is None:
        return None
    takes = found.__code__.co_varnames[: found.__code__.co_argcount]
    # As the constructors in timm set them; names of layer scales are those of DeiT III.
    if "adapt_layer_scale" in takes:
        found = partial(found, adapt_layer_scale=True)
    if "interpolation" in takes and ("flexi" in name or "radio" in name):
        found = partial(found, interpolation="bilinear", antialias=False)
    return (lambda state, model: found(state)) if len(takes) == 1 else found


def _tried(translate: Callable[..., Any], state: State, model: Any) -> State:
    """Return a translated state dict, nothing of one that timm does not know."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # one of timm's translations prints
            translated = translate(dict(state), model)
    except Exception:
        # They index and reshape without looking: whatever they raise says that names are others.
        return {}
    is_state = isinstance(translated, dict) and all(
        isinstance(value, Tensor) for value in translated.values()
    )
    return translated if is_state else {}


def _check_values(state: State, own: Mapping[str, Tensor], file: str | Path) -> None:
    """Raise unless all tensors hold finite numbers of a kind that the model computes with."""
    for name, value in state.items():
        if not own[name].is_floating_point():
            continue
        kind = str(value.dtype).removeprefix("torch.")
        if value.layout is not torch.strided:
            raise InputError(f"weights file {file}: {name} is sparse, expected a dense tensor")
        if value.dtype not in _FLOATS:
            raise InputError(
                f"weights file {file}: {name} is {kind}, expected float16, bfloat16, float32 or "
                "float64; of quantised weights give those from before"
            )
        # Bounds that a model has open stand as infinity in its files (Gemma 4).
        known = torch.isfinite(value.to(own[name].dtype)) | (own[name].isinf() & ~value.isnan())
        if not known.all():
            raise InputError(f"weights file {file}: {name} holds values that are not finite")


def _beginnings(state: State) -> str:
    firsts = dict.fromkeys(n.partition(".")[0] + ("." if "." in n else "") for n in state)
    named = ", ".join(repr(first) for first in list(firsts)[:4])
    return named + (f" and {len(firsts) - 4} more" if len(firsts) > 4 else "") or "nothing"


def _first_three(items: tuple[str, ...] | list[str]) -> str:
    rest = f" (and {len(items) - 3} more)" if len(items) > 3 else ""
    return "; ".join(items[:3]) + rest
