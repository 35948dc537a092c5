"""Two figures of refinement: every seed's IoU under each chain, and the maps side by side."""

from reports.figures.panels import CamPanels, panels_of
from reports.figures.seeds import SeedDots, SeedRow
from reports.figures.style import chain_colours, seed_markers, threshold_axis
from reports.names import CHAIN_NAMES, OPTIMAL, PLAIN
from reports.results.comparisons import ChainResult, chain_results, worst_and_best_seed
from reports.results.study_record import StudyRecord, TrialRecord
from reports.statistics import summarise_pairs
from reports.tables.cells import count_text

_COLUMNS = 7


def chain_dots_info(record: StudyRecord) -> SeedDots:
    """Collect the IoU of every healthy trial under each chain, for the main class.

    Rows are in the table's order; a line marks each configuration without refinement.
    """
    several = len(record.configurations) > 1
    hues = chain_colours([chain.name for chain in record.chains])
    rows, marks = [], []
    for result in record.once(chain_results):
        if result.class_name != record.main_class or not result.states.get("ok"):
            continue
        by_seed = {seed: 100 * value for seed, value in result.by_seed.items()}
        mean = summarise_pairs(by_seed).mean
        hue = hues[result.name]
        rows.append(SeedRow(_name(result, several), hue, by_seed, mean, _note(result)))
        if result.name == PLAIN and by_seed:
            of = f": {result.configuration.name}" if several else ""
            marks.append((f"no refinement{of}", hue, mean))
    return SeedDots(tuple(rows), tuple(marks), seed_markers(record), threshold_axis(record))


def _name(result: ChainResult, several: bool) -> str:
    name = CHAIN_NAMES.get(result.name, result.name)
    return f"{result.configuration.name}: {name}" if several else name


def _note(result: ChainResult) -> str:
    return "" if result.states["ok"] == result.states.total() else count_text(result.states)


def chain_panels_info(record: StudyRecord) -> CamPanels | None:
    """Collect the maps of the best seed, chain beside chain; None without any.

    The configuration is the last one of the study that has maps under a chain.
    """
    for one in reversed(record.configurations):
        plain = record.by_seed(one.name, record.objective)
        if not plain:
            continue
        seeds = worst_and_best_seed(plain)
        seed = seeds[1] if seeds else next(iter(plain))
        columns: dict[str, TrialRecord] = {PLAIN: record.trials[one.name, seed]}
        for chain in record.chains:
            trial = record.all_trials.get((one.name, seed, chain.name))
            if trial is not None and trial.status == "ok" and chain.name != OPTIMAL:
                columns[chain.name] = trial
        shown = dict(list(columns.items())[:_COLUMNS])
        if len(shown) > 1 and (panels := panels_of(record, shown, seed)) is not None:
            return panels
    return None
