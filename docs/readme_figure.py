"""Draw the README's figure from the results of a quickstart: `readme_figure.py RESULTS`."""

import sys
from dataclasses import replace
from pathlib import Path

from reports import read_studies
from reports.figures.panels import cam_panels_info, draw_cam_panels

FIGURE = Path(__file__).parent / "figures" / "quickstart.png"
IMAGES = 3
COLUMNS = {  # name in the study -> title
    "CNN alone": "CNN alone (teacher)",
    "ViT alone": "ViT alone (student)",
    "taught, cosine global, activation map": "ViT taught by the CNN",
}


def main(results: str) -> None:
    """Draw the first images with smoke: image, mask, and the maps of `COLUMNS`."""
    info = cam_panels_info(read_studies(results)[0])
    if info is None:
        sys.exit(f"{results}: no panels in its ledger")
    chosen = [info.columns.index(name) for name in COLUMNS]
    rows = [replace(row, cells=tuple(row.cells[at] for at in chosen)) for row in info.rows]
    info = replace(info, columns=tuple(COLUMNS.values()), rows=tuple(rows[:IMAGES]))
    figure = draw_cam_panels(info)
    figure.savefig(FIGURE, dpi=130, facecolor="white", pil_kwargs={"optimize": True})
    print(f"{FIGURE}: {FIGURE.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
