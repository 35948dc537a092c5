"""`train` and `neck` of a backbone, and the section `caches`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from studies.spec.base import Strict
from wsss_core.errors import nearest, quoted
from wsss_core.features import NECKS


def _trained(given: Any) -> Any:
    """Return what a backbone trains; None stands for all of it."""
    if given in (None, "all"):
        return None
    if isinstance(given, dict) and [*given] == ["last"]:
        if type(given["last"]) is int and given["last"] >= 1:
            return given
    elif given in ("head", "neck"):
        return given
    raise ValueError(
        f"{quoted(given)}: expected all, head, neck or {{last: N}} with N of 1 or more"
    )


def _neck(given: Any) -> Any:
    """Return a neck as a mapping of its kind and, where they are given, its channels."""
    if given is None:
        return None
    neck = {"kind": given} if isinstance(given, str) else given
    known = isinstance(neck, dict) and {"kind"} <= neck.keys() <= {"kind", "channels"}
    if not known or neck["kind"] not in NECKS:
        said = neck["kind"] if known else given
        near = nearest(said, NECKS) if isinstance(said, str) else None
        raise ValueError(
            f"{quoted(said)}: expected {', '.join(NECKS)}, or {{kind: ..., channels: N}}"
            + (f"; nearest: {near!r}" if near else "")
        )
    channels = neck.get("channels", 4)
    if type(channels) is not int or not 4 <= channels <= 65536:
        raise ValueError(f"channels {quoted(channels)}: expected 4 or more")
    return neck


TrainedEntry = Annotated[str | dict[str, int] | None, BeforeValidator(_trained)]
"""What of a network learns: "head", "neck", {"last": N}; None: all of it."""

NeckEntry = Annotated[dict[str, str | int] | None, BeforeValidator(_neck)]
"""A neck: {"kind": ...}, with "channels" if they are given; None: there is none."""


class Caches(Strict):
    """How maps of networks that stay as they are are kept, see `docs/frozen.md`.

    `features` are those of frozen encoders, `teachers` those of frozen teachers. A teacher's maps
    in float32 give the same numbers as the teacher itself; float16 rounds them, and `none` asks the
    teacher in every step.
    """

    features: Literal["float16", "float32"] = "float16"
    teachers: Literal["float32", "float16", "none"] = "float32"


def refuse_parts(
    plugin: bool, head: str, trained: str | dict[str, int] | None, neck: dict[str, str | int] | None
) -> None:
    """Raise ValueError if a backbone cannot train such a part, or have such a neck.

    Args:
        plugin: whether the model is a plug-in.
        head: of the backbone.
        trained: its `train`.
        neck: its `neck`.

    """
    if plugin and (trained or neck):
        raise ValueError("train and neck are for timm's models; a plug-in freezes its own parts")
    if trained == "neck" and neck is None:
        raise ValueError(f"train neck: expected a neck, one of {', '.join(NECKS)}")
    if trained == "head" and neck is not None:
        raise ValueError("train head: would leave the neck as it was drawn; expected train neck")
    if head in ("pcm", "transcam") and (neck is not None or trained in ("head", "neck")):
        raise ValueError(
            f"head {head} looks at the image and into the encoder; expected head linear, or train "
            "all or last: N without a neck"
        )
