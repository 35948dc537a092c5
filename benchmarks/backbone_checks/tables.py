"""Findings as counts, as a list of faults and as the tables of `docs/backbones.md`."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from backbone_checks.models import SMALLEST, VARIANTS
from backbone_checks.peers import PEERS

Results = Mapping[tuple[str, str], Mapping[str, Any]]
"""Part and model -> the line that the benchmark wrote of it."""

GOOD = ("right", "not shown")
_NOTHING = {"verdict": "not reached", "why": "", "more": {}}
_NEEDED = ("start", "build", "map", "train")
_MARKS = {
    "right": "✓",
    "not shown": "✓?",
    "refused": "R",
    "wrong": "**W**",
    "crash": "**X**",
    "error": "E",
    "model refuses": "–",
    "not installed": "",
    "not reached": "",
}
_PEER_NAMES = {
    "pgc": "pytorch-grad-cam, Grad-CAM",
    "tc_grad": "torchcam, Grad-CAM",
    "tc_cam": "torchcam, CAM",
}
_COLUMNS = {
    "grad_cam": "Grad-CAM",
    "taps": "inner layers",
    "attention": "attention CAM",
    "scales": "scales 0.5, 1, 1.5 and flips",
    "pcm": "`head: pcm`, a training step",
    "file": "`weights: FILE` with timm's own names",
}


def class_weight(found: Mapping[str, Any]) -> tuple[str, str]:
    """The class-weight CAM's verdict on a model, and the line that says why.

    It is right if the network builds, its map is right and it trains, is saved and reloaded.
    """
    needed = [found.get(check, _NOTHING) for check in _NEEDED[1:]]
    if "start" in found:
        needed.insert(0, found["start"])
    for verdict in ("crash", "wrong", "refused", "not reached"):
        for one in needed:
            if one["verdict"] == verdict:
                return verdict, one["why"]
    return needed[1]["verdict"], needed[1]["why"]


def grad_cam(found: Mapping[str, Any]) -> str:
    """Grad-CAM's verdict; of a network whose own map is not right it is that of the map."""
    whole, _ = class_weight(found)
    own = str(found.get("grad_cam", _NOTHING)["verdict"])
    if whole in GOOD and own != "not reached":
        return own
    return own if own in ("wrong", "crash") else (whole if whole not in GOOD else "refused")


def _found(results: Results, part: str, model: str) -> Mapping[str, Any] | None:
    line = results.get((part, model))
    return None if line is None else line["found"]


def _groups(results: Results) -> dict[str, list[str]]:
    known = {model for _, model in results}
    groups = {
        "smallest of each module": list(SMALLEST.values()),
        "variants": [*VARIANTS],
        "others": sorted(known - {*SMALLEST.values(), *VARIANTS}),
    }
    kept = {label: [m for m in models if m in known] for label, models in groups.items()}
    return {label: models for label, models in kept.items() if models}


def summary(results: Results) -> dict[str, dict[str, dict[str, int]]]:
    """Count verdicts by group of models and by what was checked."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for label, models in _groups(results).items():
        by_check: dict[str, Counter[str]] = {}
        for model in models:
            for check, verdict in _verdicts(results, model).items():
                by_check.setdefault(check, Counter())[verdict] += 1
        counts[label] = {check: dict(counter) for check, counter in by_check.items()}
    return counts


def _verdicts(results: Results, model: str) -> dict[str, str]:
    verdicts: dict[str, str] = {}
    if (found := _found(results, "product", model)) is not None:
        verdicts["class-weight CAM"] = class_weight(found)[0]
        for check, label in _COLUMNS.items():
            own = found.get(check, _NOTHING)["verdict"]
            verdicts[label] = grad_cam(found) if check == "grad_cam" else own
    if (found := _found(results, "peers", model)) is not None:
        for check, label in _PEER_NAMES.items():
            verdicts[label] = found.get(check, found.get("start", _NOTHING))["verdict"]
    return verdicts


def faults(results: Results) -> list[str]:
    """A line for each finding of the product that is wrong, a crash, or refused but for a peer."""
    lines = []
    for (part, model), line in results.items():
        if part != "product":
            continue
        found = line["found"]
        for check, one in found.items():
            if one["verdict"] in ("wrong", "crash"):
                lines.append(f"{model}: {check}: {one['verdict']}: {one['why']}")
        whole, why = class_weight(found)
        if whole == "refused":
            lines.append(f"{model}: refused: {why}")
        theirs = _found(results, "peers", model) or {}
        if grad_cam(found) == "refused" and any(
            theirs.get(peer, _NOTHING)["verdict"] == "right" for peer in PEERS
        ):
            said = found.get("grad_cam", _NOTHING)["why"] or why
            lines.append(f"{model}: Grad-CAM refused, a peer gets it right: {said}")
    return lines


def markdown(results: Results) -> str:
    """The tables of `docs/backbones.md`."""
    blocks = [_versions(results), _counts(results)]
    for label, models in _groups(results).items():
        blocks.append(f"### {label.capitalize()}\n\n{_table(results, models)}")
    blocks.append("### What is refused\n\n" + "\n".join(_refusals(results)))
    return "\n\n".join(blocks)


def _versions(results: Results) -> str:
    found: dict[str, set[str]] = {}
    for line in results.values():
        for package, version in line["found"].get("versions", _NOTHING)["more"].items():
            if version is not None:
                found.setdefault(package, set()).add(version)
    return ", ".join(f"{name} {' and '.join(sorted(some))}" for name, some in found.items())


def _counts(results: Results) -> str:
    shown = ("right", "refused", "wrong", "crash", "error", "model refuses", "not reached")
    heads = ("right", "refused", "silently wrong", "crash", "error", "model itself fails", "–")
    blocks = []
    for label, checks in summary(results).items():
        rows = []
        for check, counts in checks.items():
            numbers = [counts.get(verdict, 0) for verdict in shown]
            numbers[0] += counts.get("not shown", 0)
            rows.append([check, *(str(n) if n else "" for n in numbers)])
        models = len(_groups(results)[label])
        blocks.append(_grid([f"{models} models: {label}", *heads], rows))
    return "\n\n".join(blocks)


def _table(results: Results, models: list[str]) -> str:
    heads = ["module", "model", "px", "cell px", "class-weight CAM", "Grad-CAM"]
    heads += ["layers", "attention", "scales", "pcm", "file", "pgc", "tc Grad", "tc CAM"]
    rows = []
    for model in models:
        found = _found(results, "product", model) or {}
        theirs = _found(results, "peers", model) or {}
        built = found.get("build", _NOTHING)["more"]
        size = str(built.get("size", "–")) + ("*" if built.get("refused") else "")
        cell = found.get("map", _NOTHING)["more"].get("cell")
        module = next(line["module"] for key, line in results.items() if key[1] == model)
        whole = class_weight(found)[0] if found else "not reached"
        verdicts = [whole, grad_cam(found) if found else "not reached"]
        for check in ("taps", "attention", "scales", "pcm", "file"):
            verdicts.append(found.get(check, _NOTHING)["verdict"])
        verdicts += [theirs.get(peer, _NOTHING)["verdict"] for peer in PEERS]
        marks = [_MARKS[verdict] for verdict in verdicts]
        rows.append([module, f"`{model}`", size, f"{cell:g}" if cell else "–", *marks])
    return _grid(heads, rows)


def _refusals(results: Results) -> list[str]:
    """What is refused and why, in timm's words where it has some, with the models."""
    groups: dict[tuple[str, str], list[str]] = {}
    for (part, model), line in results.items():
        if part != "product":
            continue
        found = line["found"]
        for size, why in found.get("build", _NOTHING)["more"].get("refused", {}).items():
            groups.setdefault((f"images of {size} px", _reason("size", why)), []).append(model)
        whole, why = class_weight(found)
        if whole == "refused":
            groups.setdefault(("the network", why), []).append(model)
            continue
        for check, label in _COLUMNS.items():
            one = found.get(check, _NOTHING)
            if one["verdict"] == "refused":
                groups.setdefault((label, _reason(check, one["why"])), []).append(model)
    order = sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1])))
    rows = [[what, why, ", ".join(f"`{m}`" for m in models)] for (what, why), models in order]
    return [_grid(["what", "why", "models"], rows)] if rows else ["Nothing."]


_SAID = {
    "attention": r"got an? \w+: (.*); it can",
    "scales": r"cannot take \d+ px: (.*)$",
    "pcm": r"cannot take \d+ px \((.*)\)$|: (head pcm is not for plain ViTs)$",
    "file": r"does not fit: (\S+ is \[.*?\] in the file, \[.*?\] in the model)",
    "size": r"cannot take images of \d+ px \((.*?)\);",
}
"""The part of a line that says why."""


def _reason(check: str, line: str) -> str:
    found = re.search(_SAID.get(check, "$^"), line)
    why = next((part for part in found.groups() if part), line) if found else line
    return re.sub(r"\d+", "N", why).replace("|", "\\|")


def _grid(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
