"""Two figures of refinement: every seed's IoU under each chain, and the maps side by side."""

from reports.figures.panels import CamPanels, panels_of
from reports.figures.seeds import SeedDots, SeedRow
from reports.figures.style import chain_colours, seed_markers
from reports.results.study_record import OPTIMAL, PLAIN, StudyRecord, TrialRecord
from reports.statistics import summarise
from reports.tables.cells import MEASURE_NAMES, count_text
from reports.tables.refinement import ChainRow, chain_rows, chosen_seeds

_COLUMNS = 7


def refinement_dots_info(record: StudyRecord) -> SeedDots:
    """Collect the IoU of every healthy trial under each chain, for the main class.

    Rows are in the table's order; a line marks each configuration without refinement.
    """
    several = len(record.configurations) > 1
    hues = chain_colours([chain.name for chain in record.chains])
    rows, marks = [], []
    for row in chain_rows(record):
        if row.class_name != record.main_class or not row.states.get("ok"):
            continue
        by_seed = {seed: 100 * value for seed, value in row.by_seed.items()}
        mean = summarise(by_seed.values()).mean
        rows.append(SeedRow(_named(row, several), hues[row.name], by_seed, mean, _note(row)))
        if row.name == PLAIN and by_seed:
            of = f": {row.configuration.name}" if several else ""
            marks.append((f"no refinement{of}", hues[PLAIN], mean))
    axis = f"{MEASURE_NAMES[record.objective]} at the {record.rule} threshold [%]"
    return SeedDots(tuple(rows), tuple(marks), seed_markers(record), axis)


def _named(row: ChainRow, several: bool) -> str:
    name = f"{row.name} (upper bound)" if row.is_oracle else row.name
    return f"{row.configuration.name}: {name}" if several else name


def _note(row: ChainRow) -> str:
    return "" if row.states["ok"] == row.states.total() else count_text(row.states)


def refinement_panels_info(record: StudyRecord) -> CamPanels | None:
    """Collect the maps of the best seed, chain beside chain; None without any.

    The configuration is the last of the study that has chains: the one it is about.
    """
    for one in reversed(record.configurations):
        plain = record.by_seed(one.name, record.objective)
        if not plain:
            continue
        seeds = chosen_seeds(plain)
        seed = seeds[1] if seeds else next(iter(plain))
        columns: dict[str, TrialRecord] = {PLAIN: record.trials[one.name, seed]}
        for chain in record.chains:
            trial = record.refined.get((one.name, seed, chain.name))
            if trial is not None and trial.status == "ok" and chain.name != OPTIMAL:
                columns[chain.name] = trial
        shown = dict(list(columns.items())[:_COLUMNS])
        if len(shown) > 1 and (panels := panels_of(record, shown, seed)) is not None:
            return panels
    return None
