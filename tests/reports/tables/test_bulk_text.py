"""What is written in bulk is what is written one by one."""

import random

import numpy as np
import pandas as pd

from reports import statistics
from reports.tables import latex_text
from reports.tables.csv_text import frame_to_csv, spreadsheet_text


def test_a_frame_is_written_as_pandas_writes_it_but_for_formulas():
    random_numbers = np.random.default_rng(0)
    count = 2000
    numbers = random_numbers.normal(size=count) * 10.0 ** random_numbers.integers(-25, 25, count)
    odd = [0.0, -0.0, 1.0, 1e-4, 9.9e-5, 1e9, 12345678901.5, 1e15, 1e16, 5e-324, np.nan, np.inf]
    numbers[: len(odd)] = odd
    texts = np.array(["a", "=1+1", "b,c", 'd"e', "f\ng", "h\r", None], object)
    frame = pd.DataFrame(
        {
            "number": numbers,
            "share": random_numbers.random(count),
            "count": random_numbers.integers(0, 9, count),
            "text": texts[random_numbers.integers(0, len(texts), count)],
            "=name": pd.Series(["x", "y"] * (count // 2), dtype="str"),
        }
    )
    shown = frame.rename(columns=spreadsheet_text)
    shown["text"] = [spreadsheet_text(t) if isinstance(t, str) else t for t in shown["text"]]
    assert frame_to_csv(frame) == shown.to_csv(index=False, lineterminator="\n")


def test_latex_of_a_plain_text_is_that_of_its_characters(monkeypatch):
    drawn = random.Random(0)
    letters = "abc019 .,-:%_&#{}[]$~<>|\"'`*\\±−–\u00a0^²é"
    texts = ["".join(drawn.choices(letters, k=drawn.randrange(9))) for _ in range(3000)]
    quick = [latex_text.escape_latex(text) for text in texts]
    monkeypatch.setattr(latex_text, "_EACH_ALONE", latex_text.re.compile("(?!)"))
    assert [latex_text.escape_latex(text) for text in texts] == quick


def test_means_and_deviations_over_a_few_seeds_are_numpy_s_to_the_bit():
    numbers = np.random.default_rng(0)
    for count in (1, 2, 3, 5, 7, 8, 9, 20):
        for _ in range(50):
            values = numbers.normal(size=count) * 10.0 ** numbers.integers(-6, 6)
            found = statistics.summarise(values.tolist())
            assert found.mean == float(values.mean())
            assert found.sd == (float(values.std(ddof=1)) if count > 1 else None)
