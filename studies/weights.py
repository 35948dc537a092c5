"""Fetching all weights that a study names into one folder, for machines without a network."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from studies.formatting import in_bytes
from studies.spec.study import Study
from wsss_core.errors import InputError, as_input_error
from wsss_core.fetched_weights import checked, fetched_in, keep
from wsss_core.plugins import is_plugin
from wsss_core.refine.foundation.models import download_foundation, hub_name

logger = logging.getLogger(__name__)

Download = Callable[[Path], Path]
"""Downloads into a folder and returns the file or folder to keep."""


def fetch_weights(study: Study, folder: Path) -> dict[str, Path]:
    """Put every weight that a study names, and that is no file of one's own, into a folder.

    What is there and whole is not downloaded again.

    Args:
        study: the study; its chains' SAM and CLIP count where a hub's name is given for them.
        folder: the folder; made if it is not there.

    Returns:
        The name of the weights -> file or folder.

    Raises:
        InputError: they cannot be downloaded; the key of the study is named.

    """
    found: dict[str, Path] = {}
    for key, name, download in _named(study):
        if name in found:
            continue
        with as_input_error(key, InputError):
            entry = fetched_in(folder, name)
            there = entry is not None and _is_whole(entry)
            if entry is None or not there:
                with tempfile.TemporaryDirectory() as scratch:
                    entry = keep(download(Path(scratch)), name, folder)
        files = [entry] if entry.is_file() else list(entry.iterdir())
        size = in_bytes(sum(file.stat().st_size for file in files))
        logger.info("%s, %s%s: %s", name, size, ", was there" if there else "", entry)
        found[name] = entry
    return found


def _is_whole(entry: Path) -> bool:
    try:
        checked(entry)
    except InputError as error:
        logger.warning("%s", error)
        return False
    return True


def _named(study: Study) -> Iterator[tuple[str, str, Download]]:
    """Yield the study's key, the name of the weights, and what downloads them."""
    for backbone_name, backbone in study.backbones.items():
        if backbone.weights == "pretrained" and not is_plugin(backbone.model):
            from wsss_core.backbones.pretrained import download_pretrained, pretrained_name

            def network(folder: Path, model: str = backbone.model) -> Path:
                return download_pretrained(model, folder)

            yield f"backbones.{backbone_name}.weights", pretrained_name(backbone.model), network
    for chain in study.resolved_chains():
        for step in (inner for outer in chain.steps for inner in outer.all_steps):
            weights = step.settings.get("weights")
            if step.kind in ("sam", "clip") and (name := hub_name(weights)) is not None:

                def model(folder: Path, kind: str = step.kind, name: str = name) -> Path:
                    return download_foundation(kind, name, folder)

                yield f"refiners.{step.kind}.weights", name, model
