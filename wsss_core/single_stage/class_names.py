"""What a recipe says of classes by their names, and the text encoder that reads them.

No torch is loaded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wsss_core.errors import InputError, as_input_error, nearest, quoted
from wsss_core.refine import check_foundation
from wsss_core.single_stage.settings import SingleStageSettings


def for_classes(settings: SingleStageSettings, classes: Sequence[str]) -> SingleStageSettings:
    """Return settings in which what is said for each class stands in the order of the classes.

    `prompts` hold the sentences of each class, its name in the template `prompt` where none are
    given, and `high_end` is a number for each class where it was said by name.

    Args:
        settings: of a recipe.
        classes: the names of the classes.

    Raises:
        InputError: a class is missing, or another is named.

    """
    if isinstance(settings.high_end, Mapping):
        _check_names("high_end", settings.high_end, classes, "a number")
        settings = replace(settings, high_end=tuple(settings.high_end[one] for one in classes))
    if isinstance(settings.high_end, tuple) and len(settings.high_end) != len(classes):
        raise InputError(
            f"high_end has {len(settings.high_end)} numbers; expected one for each of the "
            f"{len(classes)} classes"
        )
    if settings.cams != "text":
        return settings
    prompts = settings.prompts
    if prompts:
        _check_names("prompts", prompts, classes, "a list of sentences")
    made = {
        name: [*prompts[name]] if prompts else [settings.prompt.format(name)] for name in classes
    }
    return replace(settings, prompts=made)


def _check_names(key: str, given: Iterable[str], classes: Sequence[str], expected: str) -> None:
    for name in given:
        if name not in classes:
            near = nearest(name, classes, 0)
            raise InputError(f"{key}: {quoted(name)} is no class; nearest: {near!r}")
    missing = [name for name in classes if name not in given]
    if missing:
        raise InputError(
            f"{key}: the class {quoted(missing[0])} is missing; expected {expected} for each class"
        )


def rival_sentences(settings: SingleStageSettings) -> list[str]:
    """Return the sentences for what the classes are not."""
    return [settings.prompt.format(word) for word in settings.background_words]


def text_encoder_folder(weights: str | Path) -> Path:
    """Return the folder of a CLIP whose image encoder a backbone has, with its text encoder.

    Args:
        weights: the backbone's weights.

    Raises:
        InputError: they are no file of a folder that transformers saved a CLIP in, or the extra
            `foundation` is not installed.

    """
    said = f"the backbone's weights are {weights}, beside which no text encoder lies"
    if str(weights) in ("none", "pretrained"):
        raise InputError(
            f"{said}; expected the model.safetensors of a CLIP that transformers saved"
        )
    folder = Path(weights).expanduser().resolve().parent
    with as_input_error("text encoder", InputError):
        check_foundation("clip", folder)
    return folder
