"""The comparisons that a study decides: how far each is, and the trials that are asked for."""

from typing import TYPE_CHECKING

from wsss_core.lazy import lazy_exports

if TYPE_CHECKING:
    from reports.decisions.figure import (
        DecisionPaths,
        decision_paths_info,
        draw_decision_paths,
    )
    from reports.decisions.headlines import decision_headlines
    from reports.decisions.question import Question, RowPair, read_question
    from reports.decisions.reading import read_rounds, rounds_of, seed_results
    from reports.decisions.rounds import Answer, Rounds, SeedResult, follow_rounds
    from reports.decisions.sentences import answer_records, standing_lines
    from reports.decisions.table import decisions_table, looks_table

__all__ = [
    "Answer",
    "DecisionPaths",
    "Question",
    "Rounds",
    "RowPair",
    "SeedResult",
    "answer_records",
    "decision_headlines",
    "decision_paths_info",
    "decisions_table",
    "draw_decision_paths",
    "follow_rounds",
    "looks_table",
    "read_question",
    "read_rounds",
    "rounds_of",
    "seed_results",
    "standing_lines",
]

__getattr__ = lazy_exports(__name__, __file__)
