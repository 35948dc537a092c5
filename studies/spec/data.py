"""The sections `data` and `folds`: where images come from, and what is held out together."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from studies.spec.base import LocalPath, Strict
from studies.spec.published import PUBLISHED, PublishedData, known_sources
from studies.spec.settings import FramedData, section
from wsss_core.data.folds import FoldUnit
from wsss_core.data.pixel_rules import PixelRules
from wsss_core.data.scenes.scene import SceneSettings
from wsss_core.errors import quoted
from wsss_core.plugins import is_plugin

if TYPE_CHECKING:
    from studies.spec.study import Study


class SceneData(section(SceneSettings)):  # type: ignore[misc]
    """Procedural smoke scenes, rendered when they are needed (see `wsss_core.data.scenes`).

    With `reverse_test` contexts go with the test scenes that lack their class.
    """

    source: Literal["scenes"]
    train: int = Field(1500, ge=2)
    tune: int = Field(150, ge=2)
    test: int = Field(300, ge=2)
    reverse_test: bool = False


class FolderData(FramedData, section(PixelRules)):  # type: ignore[misc]
    """A folder of images and masks (see `wsss_core.data.folder`).

    `threshold` is the least mask value that is object, for a single class. The other keys are those
    of `wsss_core.data.pixel_rules.PixelRules`.
    """

    source: Literal["folder"]
    root: LocalPath
    size: int = Field(224, ge=16, le=4096)
    threshold: int | None = Field(None, ge=1, le=65535)


class PluginData(FramedData):
    """Images of a plug-in: `factory` ("module:attribute") is called with `options`.

    It returns a `wsss_core.data.image_set.ImageSource`. The options are plain data, as YAML gives.
    """

    source: Literal["plugin"]
    factory: str
    size: int = Field(224, ge=16, le=4096)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("factory")
    @classmethod
    def _is_a_plugin(cls, name: str) -> str:
        if not is_plugin(name):
            raise ValueError("expected module:attribute")
        return name

    @field_validator("options")
    @classmethod
    def _are_plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key, value in options.items():
            if not _is_plain(value):
                raise ValueError(
                    f"{quoted(key)} holds {quoted(value)}, expected plain data: mappings with "
                    "texts as keys, lists, texts, numbers, true, false, null"
                )
        return options


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _kind(given: Any) -> str | None:
    """Return the tag of the model that reads a `data` section; None where it names no source."""
    source = given.get("source") if isinstance(given, dict) else getattr(given, "source", None)
    if not isinstance(source, str) or source in ("scenes", "folder", "plugin"):
        return source if isinstance(source, str) else None
    return PUBLISHED if source in known_sources() else source


Data = Annotated[
    Annotated[SceneData, Tag("scenes")]
    | Annotated[FolderData, Tag("folder")]
    | Annotated[PluginData, Tag("plugin")]
    | Annotated[PublishedData, Tag(PUBLISHED)],
    Discriminator(_kind),
]


class Join(Strict):
    """Images with masks that join the training of rows with `join: true` by their labels alone.

    They are `scenes` further scenes, or a share of the split `tune` or `test`, by whole groups. No
    row of the study is scored on them.
    """

    scenes: int | None = Field(None, ge=2, le=10**6)
    tune: float | None = Field(None, gt=0, lt=1)
    test: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in ("scenes", "tune", "test") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "expected one of scenes: NUMBER, tune: SHARE and test: SHARE"
                + (f", got {' and '.join(given)}" if given else "")
            )
        return self


def check_join(study: "Study") -> None:
    """Raise ValueError unless images can join the rows of a study that ask for them."""
    join = study.join
    asking = [place for place, entry in enumerate(study.configurations) if entry.join]
    if join is None:
        # `join: null` leaves these rows out.
        if asking and "join" not in study.model_fields_set:
            raise ValueError(
                f"configurations[{asking[0]}].join: the study has no section join; expected one "
                "such as join: {tune: 0.5}, or join: null to leave such rows out"
            )
        return
    for other in ("folds", "search"):
        if getattr(study, other) is not None:
            raise ValueError(f"a study takes join or {other}, not both")
    if join.scenes is not None and not isinstance(study.data, SceneData):
        raise ValueError(
            f"join.scenes: data.source is {study.data.source}; expected a share of its tune or "
            "test split, such as join: {tune: 0.5}"
        )
    if not asking:
        raise ValueError("join: no configuration has join: true")


MOST_FOLDS = 1000
"""The most folds of a study."""


class Folds(Strict):
    """Cross-validation by groups: every configuration is trained for each seed and fold.

    Images of all splits are pooled, see `wsss_core.data.folds`. `by` says what is held out
    together: a group (frame, clip, patient), a source or a camera. `k` is the number of folds;
    with "all" each unit is held out by itself. `seed` decides ties, and `tune` is the share of the
    images with masks outside the test that thresholds are tuned on.
    """

    by: FoldUnit
    k: int | Literal["all"]
    seed: int = Field(0, ge=0, lt=2**31)
    tune: float = Field(0.2, gt=0, lt=1)

    @field_validator("k", mode="before")
    @classmethod
    def _is_a_number(cls, k: object) -> object:
        whole = isinstance(k, int) and not isinstance(k, bool)
        if k != "all" and not (whole and 2 <= k <= MOST_FOLDS):  # type: ignore[operator]
            raise ValueError(f"expected a number of folds from 2 to {MOST_FOLDS}, or all")
        return k
