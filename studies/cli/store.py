"""`wsss store`: list an artifact store, verify it, and delete what nobody needs."""

import argparse
import re
from typing import TYPE_CHECKING

from reports.storage import MARK, below, open_folder
from studies.cli.common import Command, a_location, option, show
from studies.cli.strict_json import JSON_OPTION, Schema, of_schema, show_json
from studies.formatting import in_bytes
from wsss_core.errors import InputError, one_line

if TYPE_CHECKING:
    from studies.store import ArtifactStore

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(text: str) -> float:
    """Return the seconds that "30m", "12h", "7d" or "90" stand for.

    >>> seconds("30m"), seconds("0"), seconds("1.5h")
    (1800.0, 0.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as 30m, 12h or 7d")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _opened(options: argparse.Namespace) -> "ArtifactStore":
    from studies.store import ArtifactStore, require_store

    store = ArtifactStore(options.store)
    require_store(store)
    return store


def _list(options: argparse.Namespace) -> int:
    from studies.store import contents_record, details, read_artifacts, summary, walk

    store = _opened(options)
    records = walk(store.folder)
    found = read_artifacts(store, records, options.stages)
    every = bool(options.keys or options.stages)
    sizes = [record.bytes for record in records if record.kind == "quarantined"]
    if options.json:
        owners = [
            {
                "stage": owner.stage,
                "key": owner.key,
                "host": owner.host,
                "since": owner.since,
                "note": owner.note,
            }
            for owner in store.leases.owners()
        ]
        listed = {"store": str(store.where), **contents_record(found, each=every)}
        aside = {"count": len(sizes), "bytes": sum(sizes)}
        show_json(of_schema(Schema.STORE, {**listed, "at_work": owners, "quarantined": aside}))
        return 0
    if not found:
        show(f"{store.where}: no artifact is finished" + (" of these" if options.stages else ""))
        return 0
    if every:
        show(f"{details(found)}\n")
    show(summary(found))
    for owner in store.leases.owners():
        note = f", {owner.note}" if owner.note else ""
        show(f"at work: {owner.stage}/{owner.key} on {owner.host} since {owner.since}{note}")
    if sizes:
        show(f"quarantined: {len(sizes)}, {in_bytes(sum(sizes))}; wsss store gc names them")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from studies.store import ArtifactStore, require_store

    results = open_folder(options.store)
    if "ledger" not in results.folders():
        return _verify_store(_opened(options), options.stages, options.quarantine)
    store = ArtifactStore(below(options.store, "store"))
    stages = [stage for stage in options.stages if stage != "ledger"]
    known = store.folder.has(MARK)
    code = 0
    if stages or (known and not options.stages):
        require_store(store)
        code = _verify_store(store, stages, options.quarantine)
    if "ledger" in options.stages or not options.stages:
        code = max(code, _verify_ledger(options, store if known else None))
    return code


def _verify_ledger(options: argparse.Namespace, store: "ArtifactStore | None") -> int:
    from studies.store import verify_ledger

    found = verify_ledger(options.store, store, quarantine=options.quarantine)
    for why in found.corrupt.values():
        show(f"corrupt: {why}", aside=True)
    for name, why in found.missing.items():
        show(f"missing: ledger/{name} {why}", aside=True)
    sound = found.checked - len(found.corrupt)
    show(f"{sound} of {found.checked} parts of the ledger are whole")
    if found.corrupt and options.quarantine:
        show(f"{len(found.corrupt)} were moved to ledger/quarantined")
    if found.corrupt or found.missing:
        show("the next `wsss run` brings back what the store holds, and makes the rest anew")
        return 1
    return 0


def _verify_store(store: "ArtifactStore", stages: list[str], quarantine: bool) -> int:
    from studies.store import verify

    result = verify(store, stages, quarantine=quarantine)
    for name, problems in result.corrupt.items():
        for problem in problems:
            show(f"corrupt: {name}: {problem}", aside=True)
    if result.orphans:
        show(
            f"{len(result.orphans)} artifacts belong to training runs that are no longer here; "
            "they are not corrupt"
        )
        for name, parent in list(result.orphans.items())[:20]:
            show(f"  {name} of {parent}")
        if len(result.orphans) > 20:
            show(f"  and {len(result.orphans) - 20} more")
    sound = result.checked - len(result.corrupt)
    show(
        f"{sound} of {result.checked} artifacts are as their manifests say, "
        f"{in_bytes(result.bytes)} read"
    )
    if result.corrupt and quarantine:
        show(f"{len(result.corrupt)} were quarantined; the next `wsss run` makes them anew")
    elif result.corrupt:
        show("with --quarantine they are taken out, and the next `wsss run` makes them anew")
    return 1 if result.corrupt else 0


def _gc(options: argparse.Namespace) -> int:
    from studies.store import find_garbage

    store = _opened(options)
    if options.plans_only and not options.unused_by:
        raise InputError("--plans-only: it says what --unused-by counts; give --unused-by too")
    found = find_garbage(
        store,
        older_than=options.older_than,
        unused_by=options.unused_by,
        plans_only=options.plans_only,
    )
    for piece in found:
        show(f"{piece.name}  ({piece.why}, {in_bytes(piece.bytes)})")
    total = sum(piece.bytes for piece in found)
    if not found:
        show(f"{store.where}: nothing to delete")
        return 0
    if not options.delete:
        show(f"{len(found)} to delete, {in_bytes(total)}; --delete does it")
        return 0
    kept = []
    for piece in found:
        try:
            piece.delete()
        except OSError as error:
            kept.append(piece)
            show(f"not deleted: {piece.name}: {one_line(error)}", aside=True)
    freed = total - sum(piece.bytes for piece in kept)
    show(f"{len(found) - len(kept)} deleted, {in_bytes(freed)} freed")
    return 1 if kept else 0


_STORE = option("store", type=a_location, metavar="STORE", help="a path or a URI")
_STAGES_HELP = (
    "only these stages: images, features, train, cams, scores, described, fits, refined, segment"
)
_STAGES = option("stages", nargs="*", metavar="STAGE", help=_STAGES_HELP)

LIST = Command(
    "list",
    "list what a store holds",
    "wsss store list results/quickstart/store train",
    _list,
    (
        _STORE,
        _STAGES,
        option("--keys", action="store_true", help="list every artifact, as with stages"),
        JSON_OPTION,
    ),
)

VERIFY = Command(
    "verify",
    "compare every file with its checksum; exit code 1 if any differs or is missing",
    "wsss store verify s3://bucket/study/store --quarantine",
    _verify,
    (
        option(
            "store",
            type=a_location,
            metavar="PLACE",
            help="a store, or a results folder: its ledger and the store in it; a path or a URI",
        ),
        option(
            "stages",
            nargs="*",
            metavar="STAGE",
            help=f"{_STAGES_HELP}, or the ledger of a results folder: ledger",
        ),
        option(
            "--quarantine",
            "--set-aside",
            action="store_true",
            help="take corrupt artifacts and parts of the ledger out, so that the next run makes "
            "them anew",
        ),
    ),
    aside=True,
)

GC = Command(
    "gc",
    "name what nobody needs: leftovers of dead processes, their leases and broken-off runs",
    "wsss store gc results/quickstart/store --delete",
    _gc,
    (
        _STORE,
        option("--delete", action="store_true", help="delete it; without this it is only named"),
        option(
            "--older-than",
            type=seconds,
            default=7 * _UNITS["d"],
            metavar="AGE",
            help="keep what has no known owner and is younger: 30m, 12h, 7d, or 0 to keep nothing "
            "[7d]",
        ),
        option(
            "--unused-by",
            type=a_location,
            nargs="+",
            default=[],
            metavar="RESULTS",
            help="name artifacts too that no plan and no trial in these ledgers needs; give all "
            "that use STORE",
        ),
        option(
            "--plans-only",
            action="store_true",
            help="with --unused-by: trials that no plan names any more keep nothing",
        ),
    ),
    aside=True,
)

STORE = Command(
    "store",
    "list, verify and clean a store of trained networks and CAMs",
    "wsss store list results/quickstart/store",
    parts=(LIST, VERIFY, GC),
)
