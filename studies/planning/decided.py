"""What a study is to decide (`decide` of its file), as its ledger holds it."""

from functools import partial
from typing import TYPE_CHECKING

from studies.spec.study import Study

if TYPE_CHECKING:
    from reports.decisions import Question


def question_of(study: Study) -> "Question | None":
    """Return what a study is to decide; None without `decide`."""
    decide = study.decide
    if decide is None:
        return None
    # Loads SciPy, which a study that decides nothing does not need.
    from reports.decisions import Question, RowPair

    rows = [name for name, _ in study.named_configurations()]
    below = decide.collapsed_below
    asked = partial(
        Question,
        figure=decide.figure or study.thresholds.objective,
        smallest=decide.smallest / 100,
        collapsed_below=None if below is None else below / 100,
    )
    alike = ("best", "error", "first_seeds", "step", "most_hours", "hours", "split", "rule",
             "collapses", "test", "precision")  # fmt: skip
    return asked(
        comparisons=tuple(RowPair(*pair) for pair in decide.comparisons(rows)),
        seeds=tuple(study.planned_seeds),
        **{name: getattr(decide, name) for name in alike},
    )
