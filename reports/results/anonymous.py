"""Studies without the names of machines, folders and people, see `reports.anonymous`."""

from dataclasses import replace

import pandas as pd

from reports.anonymous import Anonymous
from reports.results.study_record import StudyRecord, TrialRecord


def anonymised(records: list[StudyRecord]) -> list[StudyRecord]:
    """Return studies whose trials and settings name no machine, folder or person."""
    rows = [trial.row for record in records for trial in record.all_trials.values()]
    rows += [run.row for record in records for one in record.segments for run in one.runs]
    settings = [one.settings for record in records for one in record.configurations]
    texts = [value for row in rows for value in row.values() if isinstance(value, str)]
    anonymous = Anonymous((str(row["host"]) for row in rows if row.get("host")), texts + settings)

    def trial(one: TrialRecord) -> TrialRecord:
        return replace(one, row=anonymous.values(one.row))

    return [
        replace(
            record,
            configurations=tuple(
                replace(one, settings=anonymous.text(one.settings)) for one in record.configurations
            ),
            all_trials={place: trial(one) for place, one in record.all_trials.items()},
            chains=tuple(
                replace(one, **anonymous.values({"lacks": one.lacks})) for one in record.chains
            ),
            segments=tuple(
                replace(
                    one,
                    runs=tuple(replace(run, row=anonymous.values(run.row)) for run in one.runs),
                )
                for one in record.segments
            ),
            search=_anonymous_frame(record.search, anonymous),
            findings=_anonymous_frame(record.findings, anonymous),
            cancelled={name: row.renamed(anonymous.text) for name, row in record.cancelled.items()},
        )
        for record in records
    ]


def _anonymous_frame(frame: pd.DataFrame, anonymous: Anonymous) -> pd.DataFrame:
    return frame.map(lambda value: anonymous.text(value) if isinstance(value, str) else value)
