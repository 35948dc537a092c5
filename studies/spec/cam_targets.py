"""The key `targets` of a configuration: refined maps of another one as targets of its CAMs.

configurations:
  - {name: taught, paradigm: single, student: vit}
  - {name: round 1, paradigm: single, student: vit, targets: {configuration: taught, chain: CRF}}
  - {name: round 2, paradigm: single, student: vit, targets: {configuration: round 1, chain: CRF}}
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field

from reports.names import PLAIN
from studies.spec.base import Strict
from wsss_core.errors import nearest, quoted


class CamTargets(Strict):
    """Masks that a configuration's CAMs are drawn towards in training, see `MaskTargets`.

    They are the maps of `configuration` on the training images under `chain`, cut by a threshold
    rule that sees no mask. `weight` is that of the loss.
    """

    configuration: str
    chain: str = PLAIN
    rule: Literal["fixed", "otsu", "gaussian_mixture"] = "otsu"
    weight: float = Field(1.0, gt=0)

    def as_settings(self, fixed: float) -> dict[str, Any]:
        """Return what decides the training beside the maps, as keys hold it.

        Args:
            fixed: the study's fixed threshold.

        """
        settings: dict[str, Any] = {"rule": self.rule, "weight": self.weight}
        return {**settings, "fixed": fixed} if self.rule == "fixed" else settings


def check_targets(
    rows: Mapping[str, Any], chains: Collection[str], backbones: Mapping[str, Any]
) -> None:
    """Raise ValueError unless targets name rows and chains of the study, and come to an end.

    Args:
        rows: the configurations that train, by their names.
        chains: the names of the study's chains.
        backbones: those of the study, by their names.

    """
    for name, row in rows.items():
        targets: CamTargets | None = row.targets
        if targets is None:
            continue
        if row.name is None:
            raise ValueError("an entry with 'targets' needs a 'name'")
        where = f"configuration {quoted(name)}: targets"
        if targets.configuration not in rows:
            raise ValueError(
                f"{where}.configuration {quoted(targets.configuration)} is no configuration of "
                f"this study that trains; nearest: {nearest(targets.configuration, rows, 0)!r}"
            )
        if targets.chain not in (PLAIN, *chains):
            raise ValueError(
                f"{where}.chain {quoted(targets.chain)} is no chain of this study; "
                f"nearest: {nearest(targets.chain, [PLAIN, *chains], 0)!r}"
            )
        if row.decouple is not None:
            raise ValueError(f"{where}: expected a row without 'decouple'; its views have no mask")
        if backbones[row.student].train not in (None, "all"):
            raise ValueError(f"{where}: expected a student whose whole encoder learns")
        seen = [name]
        at: CamTargets | None = targets
        while at is not None and at.configuration in rows:
            seen.append(at.configuration)
            if at.configuration in seen[:-1]:
                raise ValueError(f"{where}: {' <- '.join(seen)} is a circle")
            at = rows[at.configuration].targets
