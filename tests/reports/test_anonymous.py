"""A report that may be published: no machine, folder or person is named in any of its files."""

import json
import re

import pandas as pd
import pytest

from reports import make_report
from reports.anonymous import Anonymous
from reports.ledger.parts import read_table, write_part

TRACEBACK = """Traceback (most recent call last):
  File "/home/ann lee/my study/plug.py", line 3, in f
    raise ValueError("/data/secret project/ward 3/img_7.png: broken")
  File "/opt/env/lib/python3.11/site-packages/torch/nn/modules.py", line 9, in g
  File "/srv/checkout/wsss_core/training/loop.py", line 4, in h
OSError: gpu-7.lab.example: s3://bucket-of-ann/store/train: 10.3.2.1 is away, asked bob on gpu-7
"""
SECRETS = (
    "ann", "lee", "bob", "secret", "ward", "lab.example", "gpu-7", "gpu-8", "srv", "checkout",
    "10.3.2.1", "bucket", "/home", "/data", "/opt",
)  # fmt: skip


def secrets_in(text: str) -> list[str]:
    return [one for one in SECRETS if re.search(rf"(?<![a-z]){re.escape(one)}(?![a-z])", text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no such folder: /data/a/b", "no such folder: PATH"),
        ("/data/a/b.png: not an image", "PATH/b.png: not an image"),
        ("'/data/a b/c d.png' is cut", "'PATH/c d.png' is cut"),
        (r"C:\Users\ann\x.csv", "PATH/x.csv"),
        ("1/2 of tables/outcomes.csv, and/or 3 / 4", "1/2 of tables/outcomes.csv, and/or 3 / 4"),
        ("see https://docs.ray.io/x", "see https://docs.ray.io/x"),
        ("node1 and node10 and node1.lab", "host-1 and node10 and host-1"),
        ("listens on 127.0.0.1, not on 10.0.0.3", "listens on 127.0.0.1, not on ADDRESS"),
    ],
)
def test_names_are_replaced_and_nothing_else(text, expected):
    assert Anonymous(["node1.lab"]).text(text) == expected


@pytest.mark.ci
def test_a_report_names_no_machine_folder_or_person(tmp_path, build_ledger):
    ledger = build_ledger(tmp_path / "results", counts=(3, 5))
    trials = read_table(ledger.results, "trials")
    for number, row in enumerate(
        trials.astype(object).where(trials.notna(), None).to_dict("records")
    ):
        row["host"] = ("gpu-7.lab.example", "gpu-8")[number % 2]
        if row["status"] == "failed":
            row["error"] = TRACEBACK.splitlines()[-1] + ", in /home/bob"
            row["traceback"] = TRACEBACK
        write_part(ledger.results, "trials", row["trial_key"], [row])
    plan = read_table(ledger.results, "plan")
    plan["settings"] = json.dumps({"data": {"root": "/data/secret project"}})
    rows = plan.astype(object).where(plan.notna(), None).to_dict("records")
    write_part(ledger.results, "plan", "strategies", rows)

    named = make_report(ledger.results, tmp_path / "named")
    assert set(secrets_in(named.html.read_text())) >= {"ann", "bob", "gpu-8", "/data", "10.3.2.1"}
    files = make_report(ledger.results, tmp_path / "anonymous", anonymous=True)
    for file in (files.html, files.markdown, *files.tables, *files.figures):
        text = (
            pd.read_parquet(file).to_csv() if file.suffix == ".parquet" else file.read_text("utf-8")
        )
        assert secrets_in(text) == [], file
    page = files.html.read_text()
    for kept in ("host-1", "host-2", "PATH/plug.py", "PATH/site-packages/torch/nn/modules.py",
                 "PATH/wsss_core/training/loop.py", "PATH/img_7.png"):  # fmt: skip
        assert kept in page, kept
