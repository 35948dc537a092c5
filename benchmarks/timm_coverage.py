"""Is each timm network right, or refused in one line? Beside pytorch-grad-cam and torchcam.

The smallest model of each of timm's modules and variants of them, each in a process of its own with
limits on processor time and memory, at random weights. See `docs/backbones.md` for the results and
`benchmarks/backbone_checks` for what is checked: `product.py` and `peers.py` begin with what
"right" means.

A model whose findings are in the file of results is not run again (`--anew` runs it again), so an
interrupted run goes on. The peers do not depend on this package: their part is a run of its own.
They are not needed by anything else, so install them where they are in nobody's way:

    pip install --target peers --no-deps grad-cam==1.5.7 torchcam==0.5.0 ttach
    python benchmarks/timm_coverage.py --peers peers --results coverage.jsonl     # about an hour
    python benchmarks/timm_coverage.py --only-product --models resnet18,cait_xxs24_224
    python benchmarks/timm_coverage.py --results coverage.jsonl --markdown        # tables, no run
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from backbone_checks.models import SMALLEST, VARIANTS, module_of, unlisted_modules
from backbone_checks.reporting import Outcome, in_own_process, report, versions
from backbone_checks.tables import faults, markdown, summary

SECONDS = 180
GIGABYTES = 6.0


def checks_of(part: str) -> Callable[[str, Any], None]:
    """Import what a part of the checks needs."""
    if part == "peers":
        with suppress(ImportError):
            import pytorch_grad_cam  # noqa: F401
            import torchcam  # noqa: F401
        from backbone_checks.peers import check_peers

        return check_peers
    from backbone_checks.product import check_product

    return check_product


def check_one(check: Callable[[str, Any], None], model: str, only: list[str]) -> None:
    """Check a model in this process; what is found goes to standard output."""

    def report_if_asked(name: str, run: Callable[[], Outcome]) -> Outcome:
        return Outcome("not reached") if only and name not in only else report(name, run)

    report("versions", lambda: Outcome("right", more=versions()))
    check(model, report_if_asked)


def read_results(file: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The findings of each part and model, of each check the last."""
    results: dict[tuple[str, str], dict[str, Any]] = {}
    if file.is_file():
        for line in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            known = results.setdefault((line["part"], line["model"]), line)
            results[line["part"], line["model"]] = {
                **line,
                "found": {**known["found"], **line["found"]},
            }
    return results


def run_all(models: list[str], parts: list[str], arguments: argparse.Namespace) -> None:
    done = {} if arguments.anew else read_results(arguments.results)
    if arguments.peers:
        sys.path.append(str(arguments.peers.resolve()))
    checks = {part: checks_of(part) for part in parts}
    only = ["build", *arguments.checks.split(",")] if arguments.checks else []
    for number, model in enumerate(models, 1):
        for part in parts:
            if (part, model) in done:
                continue
            run = partial(check_one, checks[part], model, only)
            found = in_own_process(run, arguments.seconds, arguments.gigabytes)
            record = {"part": part, "model": model, "module": module_of(model), "found": found}
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            verdicts = ", ".join(
                f"{check} {one['verdict']}" for check, one in found.items() if check != "versions"
            )
            print(f"{number}/{len(models)} {model}, {part}: {verdicts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", help="only these, with commas between (default: all)")
    parser.add_argument("--checks", help="only these, such as map,grad_cam (default: all)")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="where the peers lie")
    parser.add_argument("--only-product", action="store_true", help="leave the peers out")
    parser.add_argument("--only-peers", action="store_true", help="leave the product out")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        default=Path("timm_coverage.jsonl"),
        help="JSON lines that a run adds to, and goes on from (default: timm_coverage.jsonl)",
    )
    parser.add_argument("--anew", action="store_true", help="run models again that it holds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there")
    parser.add_argument("--markdown", action="store_true", help="print tables; run nothing")
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, help=f"of a process (default: {SECONDS})"
    )
    parser.add_argument(
        "--gigabytes", type=float, default=GIGABYTES, help=f"of a process (default: {GIGABYTES})"
    )
    arguments = parser.parse_args()
    models = [*SMALLEST.values(), *VARIANTS]
    if arguments.models:
        models = arguments.models.split(",")
    parts = ["product", "peers"]
    if arguments.only_product or arguments.only_peers:
        parts = ["product"] if arguments.only_product else ["peers"]
    if unlisted := unlisted_modules():
        print(f"modules of this timm that are not checked: {', '.join(unlisted)}", file=sys.stderr)
    if not arguments.markdown:
        run_all(models, parts, arguments)
    results = {
        key: line for key, line in read_results(arguments.results).items() if key[1] in models
    }
    counts = summary(results)
    if arguments.markdown:
        print(markdown(results))
    else:
        print(json.dumps(counts, indent=2))
        print(*faults(results), sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
