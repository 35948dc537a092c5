#!/usr/bin/env bash
# One would guess: which rows a WHERE clause returns depends on the rows. How many rows a Parquet
# file keeps in a row group is a matter of speed.
#
# What happens: with DuckDB 2.0.1 it decides which rows come back. In DuckDB a NaN is larger than
# every number, so `iou > 0.5` holds for it. Parquet's statistics leave NaN out, and DuckDB skips a
# row group whose maximum is not above 0.5, with the NaN in it. So the same eight values, two of
# them NaN, give five rows in one group and four in two groups; `iou > 0.5` and `iou <= 0.5` then hold
# seven of the eight between them. (DuckDB knows: its issue 25521.) pyarrow 26 returns no NaN and
# Polars 2.1 both, from either file: three engines give three answers, and one of them changes with
# the layout.
#
# Why it matters: studies collect IoU in Parquet, and the IoU of a class without a pixel is 0 / 0.
# "The trials above 0.5" and their number then depend on how many trials one file holds, as
# compacting small parts into larger files changes the groups. Write an undefined figure as null.
#
# Seen on 29 November 2026 with Python 3.11.7 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/ask.py" <<'PYTHON'
import sys

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

iou = np.array([0.1, 0.2, np.nan, 0.4, 0.6, 0.7, np.nan, 0.8])
rows = pa.table({"trial": np.arange(8), "iou": iou})
seen = []
for size in (8, 4):
    file = f"{sys.argv[1]}/groups_of_{size}.parquet"
    pq.write_table(rows, file, row_group_size=size)
    above, below = (
        [row for (row,) in duckdb.sql(f"SELECT trial FROM '{file}' WHERE {where}").fetchall()]
        for where in ("iou > 0.5", "iou <= 0.5")
    )
    arrow = pq.read_table(file, filters=[("iou", ">", 0.5)])["trial"].to_pylist()
    polars = pl.scan_parquet(file).filter(pl.col("iou") > 0.5).collect()["trial"].to_list()
    print(
        f"duckdb {duckdb.__version__}, row groups of {size}: iou > 0.5 in trials {sorted(above)}, "
        f"iou <= 0.5 in {sorted(below)}; pyarrow {pa.__version__}: {arrow}; "
        f"polars {pl.__version__}: {polars}"
    )
    seen.append((len(above), len(below), len(arrow), len(polars)))
print(*seen, file=open(f"{sys.argv[1]}/seen", "w"))
PYTHON
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install --quiet --disable-pip-version-check \
    duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0 numpy==2.4.6
"$folder/v/bin/python" "$folder/ask.py" "$folder"
seen=$(cat "$folder/seen")
[ "$seen" = "(5, 3, 3, 5) (4, 3, 3, 5)" ] || { echo "this has changed: $seen"; exit 1; }
