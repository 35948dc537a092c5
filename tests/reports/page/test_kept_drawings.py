"""Drawn figures that are kept: taken again for equal numbers, drawn for others."""

from reports.page.kept_drawings import KeptDrawings


def drawing(calls, svg="<svg/>"):
    def draw():
        calls.append(svg)
        return svg

    return draw


def test_a_figure_of_equal_numbers_is_drawn_once(tmp_path):
    calls = []
    for _ in range(2):
        kept = KeptDrawings.of(tmp_path)
        assert kept.drawn(("seeds", {"a": 1.0}), drawing(calls)) == "<svg/>"
        kept.keep()
    assert len(calls) == 1


def test_other_numbers_are_drawn_anew_and_old_ones_forgotten(tmp_path):
    calls = []
    for value in (1.0, 2.0, 1.0):
        kept = KeptDrawings.of(tmp_path)
        kept.drawn(("seeds", value), drawing(calls, f"<svg>{value}</svg>"))
        kept.keep()
    assert calls == ["<svg>1.0</svg>", "<svg>2.0</svg>", "<svg>1.0</svg>"]


def test_a_damaged_file_is_drawn_anew(tmp_path):
    calls = []
    kept = KeptDrawings.of(tmp_path)
    kept.drawn("a", drawing(calls))
    kept.keep()
    (file,) = (tmp_path / "derived").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    assert KeptDrawings.of(tmp_path).drawn("a", drawing(calls)) == "<svg/>"
    assert len(calls) == 2


def test_numbers_that_cannot_be_told_apart_are_drawn_each_time(tmp_path):
    calls = []
    for _ in range(2):
        KeptDrawings.of(tmp_path).drawn(lambda: None, drawing(calls))
    assert len(calls) == 2
