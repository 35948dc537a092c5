"""CAMs to look at: image, mask, and each network's map with its IoU and its tuned contour.

The colour map is viridis: equal steps of score look equal, in grey print too.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from reports.figures.style import INK, StudyFigure, wrapped
from reports.ledger.parts import LedgerError
from reports.pairing import Pair
from reports.results.comparisons import best_taught
from reports.results.study_record import StudyRecord, TrialRecord
from reports.tables.cells import points

LONGEST_SIDE = 192
"""Pixels of the longest side of a picture in the figure."""

MASK_COLOUR = "#ff3d71"
_ROWS = 8
_TAUGHT_COLUMNS = 3


@dataclass(frozen=True)
class CamCell:
    """One CAM.

    Attributes:
        cam: uint8 [H, W], 0-255; None if the trial left no panel.
        level: the level it is cut at; None without a threshold.
        note: the text below it.

    """

    cam: np.ndarray | None
    level: int | None
    note: str


@dataclass(frozen=True)
class PanelRow:
    """One image: its name and class, uint8 [H, W, 3], bool [H, W], and a cell per column."""

    image_name: str
    class_name: str
    image: np.ndarray
    mask: np.ndarray
    cells: tuple[CamCell, ...]


@dataclass(frozen=True)
class CamPanels:
    """A grid of CAMs of one seed; `columns` are titles over the cells of each row."""

    columns: tuple[str, ...]
    rows: tuple[PanelRow, ...]
    seed: Pair


def panel_columns(record: StudyRecord) -> list[str]:
    """Choose the columns: teacher alone, student alone, the best three taught configurations.

    Without any comparison, the first five configurations.
    """
    ranked = best_taught(record)
    if not ranked:
        return [one.name for one in record.configurations[:5]]
    best = ranked[0].configuration
    alone = [name for name in (best.reference, best.baseline) if record.configuration(name)]
    taught = [c.configuration.name for c in ranked if c.configuration.name not in alone]
    return [str(name) for name in alone] + taught[:_TAUGHT_COLUMNS]


def cam_panels_info(record: StudyRecord) -> CamPanels | None:
    """Collect the panels of the seed for which most columns have one; None without any.

    Raises:
        LedgerError: a picture in the ledger cannot be decoded.

    """
    columns = panel_columns(record)
    with_panels = record.panels.keys

    def drawn(seed: Pair) -> int:
        trials = [record.trials.get((name, seed)) for name in columns]
        return sum(trial is not None and trial.key in with_panels for trial in trials)

    if not record.pairs or not with_panels:
        return None
    seed = max(record.pairs, key=drawn)
    trials = {name: record.trials.get((name, seed)) for name in columns}
    return panels_of(record, trials, seed)


def panels_of(
    record: StudyRecord, columns: Mapping[str, TrialRecord | None], seed: Pair
) -> CamPanels | None:
    """Set the pictures of some trials side by side; None without any.

    Args:
        record: the study.
        columns: title over each column -> the trial it shows, plain or under a chain.
        seed: the seed of the trials, or the seed and fold.

    Raises:
        LedgerError: a picture in the ledger cannot be decoded.

    """
    shown = [_pictures(record, trial) for trial in columns.values()]
    pairs = sorted({pair for pictures in shown for pair in pictures})
    if not pairs:
        return None
    rows = []
    for class_name, image in pairs:
        here = [pictures.get((class_name, image)) for pictures in shown]
        first = next(picture for picture in here if picture is not None)
        where = f"panels of trial {first.trial_key}, {image}"
        rows.append(
            PanelRow(
                image,
                class_name,
                _decode(first.image_png, "RGB", where),
                _decode(first.mask_png, "L", where) > 127,
                tuple(
                    _cell(record, trial, picture)
                    for trial, picture in zip(columns.values(), here, strict=True)
                ),
            )
        )
    rows.sort(key=lambda row: not row.mask.any())  # the clear ones last
    clear = [row for row in rows if not row.mask.any()]
    kept = [row for row in rows if row.mask.any()][: _ROWS - min(len(clear), 2)]
    return CamPanels(tuple(columns), tuple(kept + clear[: _ROWS - len(kept)]), seed)


def _pictures(record: StudyRecord, trial: TrialRecord | None) -> dict[tuple[str, str], Any]:
    """Read the student's rows of `panels` on the test split, by class and image."""
    rows = record.panels.of(trial.key if trial else "")
    rows = rows[(rows["network"] == "student") & (rows["split"] == "test")]
    return {(str(row.class_name), str(row.image)): row for row in rows.itertuples()}


def _decode(png: bytes, mode: str, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
            return np.asarray(picture.convert(mode))
    except OSError as error:
        raise LedgerError(f"ledger {where}: not a picture ({error})") from error


def _cell(record: StudyRecord, trial: TrialRecord | None, picture: Any) -> CamCell:
    if picture is None or trial is None:
        status = "missing" if trial is None else trial.status
        return CamCell(None, None, "no picture" if status == "ok" else status)
    image, class_name = picture.image, picture.class_name
    cam = _decode(picture.cam_png, "L", f"panels of trial {trial.key}, {image}")
    level = trial.figure("level", rule=record.rule, class_name=class_name)
    key = ("student", class_name)
    if math.isnan(level) or trial.figures is None or image not in trial.figures.images.get(key, ()):
        return CamCell(cam, None, "")
    at = trial.figures.images[key].index(image)
    if trial.figures.gated_out[key][at]:
        return CamCell(cam, None, "not predicted")
    iou = trial.figures.image_iou[key][at]
    if iou.any():
        return CamCell(cam, int(level), f"IoU {points(float(iou[int(level)]), 0)}")
    marked = float(trial.figures.clear_share[key][at, int(level)])
    return CamCell(cam, int(level), f"{points(marked, 0)} % marked")


def _fitted(pixels: np.ndarray, filtering: Image.Resampling) -> np.ndarray:
    """Shrink to at most `LONGEST_SIDE`, so that a page of large masks stays small."""
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, filtering))


def cam_over_grey(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Lay a CAM over its greyed image: uint8 [H, W, 3] and uint8 [H, W] to uint8 [H, W, 3]."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    colour = mpl.colormaps["viridis"](cam)[..., :3] * 255
    return np.round(0.4 * grey[..., None] + 0.6 * colour).astype(np.uint8)


def draw_cam_panels(info: CamPanels) -> Figure:
    """Draw the grid: white contour at the tuned threshold, the mask's outline in red."""
    titles = ["image", "mask", *info.columns]
    cell = 1.32
    figure = StudyFigure(
        figsize=(cell * len(titles) + 0.1, (cell + 0.22) * len(info.rows) + 0.4),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0),
    )
    grid = figure.subplots(len(info.rows), len(titles), squeeze=False)
    for row, axes_row in zip(info.rows, grid, strict=True):
        mask = _fitted(row.mask.astype(np.uint8) * 255, Image.Resampling.NEAREST)
        size = (mask.shape[1], mask.shape[0])
        image = np.asarray(Image.fromarray(row.image).resize(size, Image.Resampling.LANCZOS))
        _show(axes_row[0], image, "")
        _show(axes_row[1], np.repeat(mask[..., None], 3, axis=2), _mask_note(row))
        for axes, shown in zip(axes_row[2:], row.cells, strict=True):
            if shown.cam is None:
                _show(axes, np.full((*mask.shape, 3), 238, np.uint8), "")
                axes.text(
                    0.5,
                    0.5,
                    shown.note,
                    transform=axes.transAxes,
                    ha="center",
                    va="center",
                    color=INK,
                    fontsize=9,
                    style="italic",
                )
                continue
            cam = np.asarray(Image.fromarray(shown.cam).resize(size, Image.Resampling.BILINEAR))
            _show(axes, cam_over_grey(image, cam), shown.note)
            _outline(axes, mask > 127, 0.5, MASK_COLOUR)
            if shown.level is not None and cam.min() < shown.level <= cam.max():
                _outline(axes, cam, shown.level - 0.5, "white")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(wrapped(title, 17, 3), fontsize=8.5, linespacing=1.05)
    return figure


def _mask_note(row: PanelRow) -> str:
    if not row.mask.any():
        return f"no {row.class_name}"
    return f"{row.class_name} {points(float(row.mask.mean()), 0)} %"


def _show(axes: mpl.axes.Axes, pixels: np.ndarray, note: str) -> None:
    axes.imshow(pixels, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(note, fontsize=8, labelpad=2)


def _outline(axes: mpl.axes.Axes, values: np.ndarray, level: float, colour: str) -> None:
    if colour != "white" and (values.all() or not values.any()):
        return
    lines = axes.contour(values, levels=[level], colors=[colour], linewidths=1.1)
    effects: Sequence[Stroke | Normal] = [Stroke(linewidth=2.2, foreground="#00000099"), Normal()]
    if colour == "white":
        lines.set_path_effects(list(effects))
