"""The status of a study without the names of machines, folders and people."""

from collections.abc import Sequence
from dataclasses import replace

from reports.anonymous import Anonymous
from reports.ledger.parts import read_arrow
from reports.results.failure_causes import Failure
from reports.storage import Location
from studies.status.model import Running, StudyStatus


def anonymised_status(status: StudyStatus, results: Location) -> StudyStatus:
    """Return a status that names no machine, folder or person.

    Args:
        status: the status.
        results: the results folder, whose ledger knows the machines that trained.

    """
    failures = (*status.failed, *status.collapsed, *status.unrefined, *status.unsegmented)
    running = status.running or ()
    ended = [
        host
        for table in ("trials", "refined", "segmented")
        for host in read_arrow(results, table, columns=["host"], skip_corrupt=True)
        .column("host")
        .unique()
        .to_pylist()
    ]
    anonymous = Anonymous(
        sorted({str(host) for host in (*ended, *(one.host for one in running)) if host}),
        [text for one in failures for text in (one.error, one.traceback) if text],
    )

    def without_names(found: Sequence[Failure]) -> tuple[Failure, ...]:
        return tuple(
            replace(
                one,
                error=anonymous.text(one.error),
                traceback=None if one.traceback is None else anonymous.text(one.traceback),
            )
            for one in found
        )

    def process(one: Running) -> Running:
        return replace(one, host=anonymous.text(one.host), note=anonymous.text(one.note))

    return replace(
        status,
        failed=without_names(status.failed),
        collapsed=without_names(status.collapsed),
        unrefined=without_names(status.unrefined),
        unsegmented=without_names(status.unsegmented),
        chains=tuple(
            replace(one, lacks=None if one.lacks is None else anonymous.text(one.lacks))
            for one in status.chains
        ),
        running=None if status.running is None else tuple(map(process, running)),
        cancelled=tuple(row.renamed(anonymous.text) for row in status.cancelled),
    )
