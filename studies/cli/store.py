"""`wsss store`: what an artifact store holds, whether it is sound, and what can go."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any

from reports.storage.locations import located
from wsss_core.errors import one_line

STAGES_HELP = "only these stages: images, train, cams, scores, described, fits, refined"

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def add_store_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    command: Callable[..., argparse.ArgumentParser],
) -> None:
    """Add `store` with its commands.

    Args:
        commands: of `wsss`.
        command: makes one of them, see `studies.cli.main`.

    """
    store = commands.add_parser(
        "store",
        help="list, verify and clean a store of trained networks and CAMs",
        description="list, verify and clean a store of trained networks and CAMs",
        epilog="Example: wsss store list results/quickstart/store",
    )
    kinds = store.add_subparsers(required=True, metavar="WHAT")
    lists = command(
        kinds, "list", _list, "say what a store holds",
        "wsss store list results/quickstart/store train",
    )  # fmt: skip
    verifies = command(
        kinds, "verify", _verify,
        "compare every file with its checksum; exit code 1 if one differs or is missing",
        "wsss store verify s3://bucket/study/store --set-aside",
    )  # fmt: skip
    cleans = command(
        kinds, "gc", _gc,
        "name what nobody needs: what dead builders, leases and broken-off runs have left",
        "wsss store gc results/quickstart/store --delete",
    )  # fmt: skip
    for one in (lists, verifies, cleans):
        one.add_argument("store", type=located, metavar="STORE", help="a path or a URI")
    for one in (lists, verifies):
        one.add_argument("stages", nargs="*", metavar="STAGE", help=STAGES_HELP)
    lists.add_argument(
        "--keys", action="store_true", help="every artifact; so too where stages are given"
    )
    verifies.add_argument(
        "--set-aside", action="store_true",
        help="take damaged artifacts out, so that the next run makes them anew",
    )  # fmt: skip
    cleans.add_argument(
        "--delete", action="store_true", help="delete it; without, it is only named"
    )
    cleans.add_argument(
        "--older-than", type=seconds, default=7 * _UNITS["d"], metavar="AGE",
        help="leave what has no known owner and changed since: 30m, 12h, 7d, 0 for nothing [7d]",
    )  # fmt: skip
    cleans.add_argument(
        "--unused-by", type=located, nargs="+", default=[], metavar="RESULTS",
        help="artifacts too that no plan in these ledgers needs; name all studies that use STORE",
    )  # fmt: skip


def seconds(text: str) -> float:
    """What "30m", "12h", "7d" or "90" (seconds) stand for.

    >>> seconds("30m"), seconds("0"), seconds("1.5h")
    (1800.0, 0.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as 30m, 12h or 7d")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _opened(options: argparse.Namespace) -> Any:
    from studies.store.artifacts import ArtifactStore
    from studies.store.listing import require_store

    store = ArtifactStore(options.store)
    require_store(store)
    return store


def _list(options: argparse.Namespace) -> int:
    from studies.formatting import in_bytes
    from studies.store.listing import artifacts, details, summary

    store = _opened(options)
    found = artifacts(store, options.stages)
    if not found:
        print(f"{store.where}: no artifact is finished" + (" of these" if options.stages else ""))
        return 0
    if options.keys or options.stages:
        print(details(found), end="\n\n")
    print(summary(found))
    held = store.leases.owners()
    for holder in held:
        note = f", {holder.note}" if holder.note else ""
        print(f"at work: {holder.stage}/{holder.key} on {holder.host} since {holder.since}{note}")
    damaged = store.folder.joined("damaged")
    aside = list(damaged.listing()) + damaged.folders()
    if aside:
        size = sum(entry.size for entry in damaged.tree().values())
        print(f"set aside as damaged: {len(aside)}, {in_bytes(size)}; wsss store gc names them")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from studies.formatting import in_bytes
    from studies.store.verification import verify

    store = _opened(options)
    report = verify(store, options.stages, set_aside=options.set_aside, say=_say)
    for name, problems in report.damaged.items():
        for problem in problems:
            print(f"damaged: {name}: {problem}", file=sys.stderr)
    if report.orphans:
        print(
            f"{len(report.orphans)} artifacts are of training runs that are no longer here; that "
            "is no damage"
        )
        for name, parent in list(report.orphans.items())[:20]:
            print(f"  {name} of {parent}")
        if len(report.orphans) > 20:
            print(f"  and {len(report.orphans) - 20} more")
    sound = report.checked - len(report.damaged)
    print(
        f"{sound} of {report.checked} artifacts are as their manifests say, "
        f"{in_bytes(report.bytes)} read"
    )
    if report.damaged and report.set_aside:
        print(f"{len(report.damaged)} were set aside; the next `wsss run` makes them anew")
    elif report.damaged:
        print("with --set-aside they are taken out, and the next `wsss run` makes them anew")
    return 1 if report.damaged else 0


def _gc(options: argparse.Namespace) -> int:
    from studies.formatting import in_bytes
    from studies.store.garbage import garbage

    store = _opened(options)
    found = garbage(store, older_than=options.older_than, unused_by=options.unused_by, say=_say)
    for one in found:
        print(f"{one.name}  ({one.why}, {in_bytes(one.bytes)})")
    total = sum(one.bytes for one in found)
    if not found:
        print(f"{store.where}: nothing to delete")
    elif not options.delete:
        print(f"{len(found)} to delete, {in_bytes(total)}; --delete does it")
    else:
        kept = {}
        for one in found:
            try:
                one.delete()
            except OSError as error:
                kept[one] = one_line(error)
        for one, said in kept.items():
            print(f"not deleted: {one.name}: {said}", file=sys.stderr)
        freed = total - sum(one.bytes for one in kept)
        print(f"{len(found) - len(kept)} deleted, {in_bytes(freed)} freed")
        return 1 if kept else 0
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
