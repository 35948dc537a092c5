"""What comparing digests costs: `wsss run` again and the first `wsss report`, with and without it.

A store and a ledger as a finished study leaves them, 400 score rows a trial (those of
`benchmarks/scale.py`), are read by the commands in processes of their own, in turns with the
comparison on and off. Off means that sizes are compared, as before there were digests: no digest of
a part, a snapshot or an artifact is computed. Printed are the least wall and processor times of the
turns, and on divided by off; at most 1.1 is wanted.

    python benchmarks/digests.py                          # 5,000 trials, 3 GiB for a while
    python benchmarks/digests.py --trials 1000 --turns 3  # some minutes
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

OFF = "WSSS_BENCHMARK_WITHOUT_DIGESTS"
"""Environment variable: set in the processes that compare no digest."""


def compare_no_digest() -> None:
    """Take the comparison out of this process."""
    import reports.ledger.parts
    import reports.ledger.snapshot
    import studies.store.ledger_copies
    import studies.store.manifest

    reports.ledger.parts.is_whole = lambda _: True
    reports.ledger.snapshot.is_whole = lambda _: True
    studies.store.manifest.holds_digest = lambda *_: True
    studies.store.manifest.differences = lambda _: []

    def of_that_size(ledger: Any, table: str, key: str, size: int, _: str) -> bool:
        entry = ledger.there[table].get(f"{key}.parquet")
        return entry is not None and entry.size == size

    studies.store.ledger_copies.LedgerListing._is_copy = of_that_size  # type: ignore[method-assign]


# Also in the processes that a report spawns, which import this file again.
if os.environ.get(OFF):
    compare_no_digest()


def timed(
    results: Path, spec: Path, *, compared: bool, report: bool
) -> dict[str, dict[str, float]]:
    """Run each command once; return its times."""
    from scale import measured

    environment = {**os.environ, **({} if compared else {OFF: "1"})}
    found = {}
    commands = {"run again": ["run", str(spec), "--results", str(results)]}
    if report:
        commands["report, first"] = ["report", str(results)]
    for name, arguments in commands.items():
        for folder in ("derived", "report"):
            shutil.rmtree(results / folder, ignore_errors=True)
        found[name] = measured([sys.executable, __file__, "--command", *arguments], environment)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5000, help="of the ledger [5000]")
    parser.add_argument("--turns", type=int, default=2, help="with and without digests [2]")
    parser.add_argument("--no-report", action="store_true", help="measure `wsss run` alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    from scale import finished_study

    turns: dict[bool, list[dict[str, dict[str, float]]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        spec, trials, _ = finished_study(options.trials, Path(folder))
        size = sum(f.stat().st_size for f in Path(folder).glob("results/ledger/*/*")) / 2**20
        print(f"{trials:,} trials, {size:,.0f} MiB in the ledger", flush=True)
        results, report = Path(folder) / "results", not options.no_report
        timed(results, spec, compared=False, report=report)  # files come into the page cache
        for turn in range(options.turns):
            for compared in (True, False) if turn % 2 else (False, True):
                turns[compared].append(timed(results, spec, compared=compared, report=report))
    record: dict[str, Any] = {
        "benchmark": "digests", "machine": platform.machine(), "cores": os.cpu_count(),
        "trials": trials, "ledger MiB": size, "commands": {},
    }  # fmt: skip
    for name in turns[True][0]:
        record["commands"][name] = each = {}
        for unit, what in (("seconds", "wall"), ("cpu", "processor")):
            on, off = (min(turn[name][unit] for turn in turns[c]) for c in (True, False))
            each[what] = {"on": on, "off": off, "ratio": on / off}
            print(f"{name:14} {what:10} on {on:6.2f} s, off {off:6.2f} s, ratio {on / off:.3f}")
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--command"]:
        from studies.cli.main import main as wsss

        sys.exit(wsss(sys.argv[2:]))
    main()
