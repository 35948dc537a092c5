"""The `data` section of published sets that are read in place: the options of an import as keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from studies.spec.base import LocalPath, Name, Strict
from studies.spec.settings import FramedData
from wsss_core.errors import check_printable, checked_path, quoted

if TYPE_CHECKING:
    from wsss_core.data.importing import ImportSettings, SourceSettings

PUBLISHED = "published"
"""The source of sets whose format is recognised, or said for each."""


def known_sources() -> list[str]:
    """Return what `source` may be: scenes, folder, plugin, published, or the name of a format."""
    from wsss_core.data.formats import FORMATS

    of_formats = [known.name for known in FORMATS]
    return list(dict.fromkeys(["scenes", "folder", "plugin", PUBLISHED, *of_formats]))


def _printable(text: str) -> str:
    check_printable(text, "a text", allowed="")
    return text


def _a_format(name: str) -> str:
    from wsss_core.data.formats import format_named

    return format_named(name).name


def _values(given: Any) -> Any:
    from wsss_core.data.formats import parse_values

    return parse_values(given) if isinstance(given, str) else given


def _classes(given: Any) -> Any:
    """Return class -> its names in the source, from a text, a list of classes or a mapping."""
    from wsss_core.data.formats import parse_classes

    if isinstance(given, str):
        return parse_classes(given)
    if isinstance(given, list):
        return {name: [name] for name in given if isinstance(name, str)} or given
    if isinstance(given, Mapping):
        return {new: [old] if isinstance(old, str) else old for new, old in given.items()}
    return given


def _listed(given: Any) -> Any:
    return [given] if isinstance(given, str | Mapping) else given


_Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]


class _ReadingOptions(Strict):
    """How a set is read, see `wsss_core.data.formats.FormatOptions`; None: as the format has it."""

    images: _Text | None = None
    masks: _Text | None = None
    values: Annotated[
        dict[Annotated[int, Field(ge=0, le=65535)], _Text] | None, BeforeValidator(_values)
    ] = None
    colours: LocalPath | None = None
    threshold: int | None = Field(None, ge=1, le=65535)
    clear: Annotated[list[_Text] | None, BeforeValidator(_listed)] = None
    crowd: Literal["object", "ignore"] | None = None
    boxes: Literal["ignore", "object"] | None = None
    frames: int | None = Field(None, ge=1, le=10_000)
    scheme: _Text | None = None
    crops: Literal["none", "thesis"] | None = None
    runs: Literal["columns", "rows"] | None = None
    classes: Annotated[
        dict[Name, Annotated[list[_Text], Field(min_length=1)]] | None, BeforeValidator(_classes)
    ] = None
    labels: LocalPath | None = None


_OF_FORMAT = tuple(key for key in _ReadingOptions.model_fields if key not in ("classes", "labels"))


class PublishedSet(_ReadingOptions):
    """One of several sets: its path, and options that are for it alone."""

    path: LocalPath
    name: Annotated[str, Field(pattern="^[^/=]+$")] | None = None
    format: Annotated[str, AfterValidator(_a_format)] | None = None
    take: dict[Name, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)


def _paths(given: Any) -> Any:
    entries = given if isinstance(given, list) else [given]
    return [{"path": entry} if isinstance(entry, str) else entry for entry in entries]


def _splits(given: Any) -> Any:
    """Return split -> share, list or names as a text, from a mapping or the texts of `--split`."""
    if given is None or isinstance(given, Mapping):
        return {
            str(split): "+".join(map(str, value)) if isinstance(value, list) else str(value)
            for split, value in (given or {}).items()
        }
    texts = given if isinstance(given, list) else [given]
    parts = [part.partition("=") for text in texts for part in str(text).split(",")]
    return {split.strip(): value.strip() for split, _, value in parts}


class PublishedData(FramedData, _ReadingOptions):
    """Published data sets read in place, as `wsss data import` would import them.

    `source` names the format, or is "published" where each is recognised. `root` is a path, or a
    list of paths and of mappings with options for one of them.
    """

    source: str
    root: Annotated[list[PublishedSet], Field(min_length=1, max_length=26), BeforeValidator(_paths)]
    size: int = Field(224, ge=16, le=4096)
    split: Annotated[dict[str, str], BeforeValidator(_splits)] = Field(default_factory=dict)
    tune: str | None = Field(None, coerce_numbers_to_str=True)
    group_by: Literal["group", "camera"] = "group"
    least_area: int = Field(1, ge=0)
    orientation: Literal["apply", "ignore"] | None = None
    assume_absent: bool = False
    drop_twins: bool = False
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> "PublishedData":
        if self.source != PUBLISHED:
            for entry in self.root:
                if entry.format is not None:
                    raise ValueError(
                        f"root: {quoted(entry.path)} has a format of its own, expected source: "
                        f"{PUBLISHED} where formats differ"
                    )
        self.import_settings()
        return self

    def import_settings(self) -> "ImportSettings":
        """Return the settings of the import that these keys stand for, without a destination.

        Raises:
            InputError: the splits do not make sense.

        """
        from wsss_core.data.importing import ImportSettings, name_sources, parse_splits

        texts = [f"{e.name}={e.path}" if e.name else e.path for e in self.root]
        named = name_sources(texts)
        split = [f"{name}={value}" for name, value in self.split.items()]
        return ImportSettings(
            tuple(
                self._source(entry, name, path)
                for entry, (name, path) in zip(self.root, named, strict=True)
            ),
            split=parse_splits(split, self.tune),
            group_by=self.group_by,
            least_area=self.least_area,
            orientation=self.orientation,
            assume_absent=self.assume_absent,
            drop_twins=self.drop_twins,
            seed=self.seed,
        )

    def _source(self, entry: PublishedSet, name: str, path: Path) -> "SourceSettings":
        from wsss_core.data.formats import FormatOptions
        from wsss_core.data.importing import SourceSettings

        def chosen(key: str) -> Any:
            own = getattr(entry, key)
            return getattr(self, key) if own is None else own

        options = {key: value for key in _OF_FORMAT if (value := chosen(key)) is not None}
        if "colours" in options:
            options["colours"] = checked_path(options["colours"])
        if "clear" in options:
            options["clear"] = tuple(options["clear"])
        classes = chosen("classes")
        labels: str = chosen("labels") or "format"
        labels_from: Literal["format", "masks"] | Path = "format"
        if labels == "masks":
            labels_from = "masks"
        elif labels != "format":
            labels_from = checked_path(labels)
        return SourceSettings(
            path,
            name,
            format=entry.format if self.source == PUBLISHED else self.source,
            options=FormatOptions(**options),
            classes=classes and {new: tuple(olds) for new, olds in classes.items()},
            labels=labels_from,
            take=entry.take,
        )
