"""The key `decouple` of a configuration: objects apart from their contexts, by another row's masks.

    configurations:
      - {name: ViT alone, paradigm: single, student: vit}
      - name: CDA
        paradigm: single
        student: vit
        decouple: {configuration: ViT alone, rule: tuned, paste: {share: [0.1, 0.7]}}
      - {name: crops, paradigm: single, student: vit,
         decouple: {configuration: ViT alone, crops: {side: 0.4}}}

The named row is trained first, under the same seed. Its maps of the training images are cut at one
threshold, and objects are pasted, or crops are tagged, by these pseudo masks.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, field_validator, model_validator

from reports.names import PLAIN
from studies.spec.base import Strict
from studies.spec.segmentation.segment import SegmentLabels
from studies.spec.settings import section, settings_of
from wsss_core.augmentation.decomposition import CropSettings
from wsss_core.augmentation.pasting import PasteSettings
from wsss_core.errors import InputError, nearest, quoted

if TYPE_CHECKING:
    from studies.spec.configuration import Configuration


class Paste(section(PasteSettings)):  # type: ignore[misc]
    """Objects that are pasted; see `wsss_core.augmentation.pasting.PasteSettings`."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        try:
            self.settings()
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    def settings(self) -> PasteSettings:
        """Return them as training takes them."""
        low, high = self.share
        return settings_of(PasteSettings, self.model_copy(update={"share": (low, high)}))


class Crops(section(CropSettings)):  # type: ignore[misc]
    """Crops with tags; see `wsss_core.augmentation.decomposition.CropSettings`."""

    def settings(self) -> CropSettings:
        """Return them as training takes them."""
        return settings_of(CropSettings, self)


def _as_given(value: Any) -> Any:
    """Return true as a section of defaults, and false as none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class Decouple(Strict):
    """Whose masks tell objects from contexts, and what is done with them.

    `configuration`, `chain` and `rule` are as those of a segmenter's pseudo masks.
    """

    configuration: str
    chain: str = PLAIN
    rule: str = "tuned"
    paste: Annotated[Paste | None, BeforeValidator(_as_given)] = None
    crops: Annotated[Crops | None, BeforeValidator(_as_given)] = None

    @field_validator("rule")
    @classmethod
    def _is_a_rule(cls, rule: str) -> str:
        return SegmentLabels(configuration="any", rule=rule).rule

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.paste is None and self.crops is None:
            raise ValueError("expected paste or crops: what the masks are used for")
        return self

    @property
    def labels(self) -> SegmentLabels:
        """The pseudo masks, as a segmenter names its own."""
        return SegmentLabels(configuration=self.configuration, chain=self.chain, rule=self.rule)


def check_decoupled(named: Iterable[tuple[str, "Configuration"]], chains: Iterable[str]) -> None:
    """Raise ValueError unless each `decouple` names a row with maps of its own, and its chain.

    Args:
        named: the configurations of a study with their names.
        chains: the names of its chains that have steps.

    """
    rows: Mapping[str, Configuration] = dict(named)
    known = {"chain": [PLAIN, *chains], "configuration": list(rows)}
    for name, one in rows.items():
        if one.decouple is None:
            continue
        for key, names in known.items():
            given = getattr(one.decouple, key)
            if given not in names:
                raise ValueError(
                    f"decouple.{key} {quoted(given)} of {quoted(name)} is no {key} of this study; "
                    f"nearest: {nearest(given, names, 0)!r}"
                )
        source = rows[one.decouple.configuration]
        if source.join != one.join:
            raise ValueError(
                f"decouple.configuration {quoted(one.decouple.configuration)} of {quoted(name)} "
                "learns from other images; expected both rows with join, or neither"
            )
        if source.decouple is not None or source.fuse is not None:
            why = "is itself decoupled" if source.fuse is None else "fuses networks"
            raise ValueError(
                f"decouple.configuration {quoted(one.decouple.configuration)} of {quoted(name)} "
                f"{why}; expected a row that is trained by itself"
            )
