"""Write docs/claim.md from the results of the study `claim`: `claim_page.py RESULTS [RESULTS]`."""

import sys
from pathlib import Path
from string import Template

from reports import read_studies
from reports.decisions import Answer, RowPair, decision_paths_info, draw_decision_paths, rounds_of
from reports.decisions.sentences import interval_text
from reports.decisions.table import more_seeds
from reports.ledger import read_table
from reports.page.items import study_tables
from reports.results.study_record import StudyRecord
from reports.tables.rendering import to_markdown

DOCS = Path(__file__).parent
STUDIES = {"scenes": "claim", "crops": "claim-crops"}
TABLES = ("decisions", "strategies", "chance")

FUSED, HARDER, FEATURES = "fused without teaching", "taught with lambda 20", "taught features"
QUESTIONS = (
    ("(a) taught ViT better than the ViT alone?", RowPair("taught", "ViT alone")),
    ("(b) better than the CNN alone?", RowPair("taught", "CNN alone")),
    ("(c) better than both fused?", RowPair("taught", FUSED)),
    ("(b) with lambda 20", RowPair(HARDER, "CNN alone")),
    ("(c) with lambda 20", RowPair(HARDER, FUSED)),
    ("(a) taught features, as in the thesis", RowPair(FEATURES, "ViT alone")),
    ("(b) taught features", RowPair(FEATURES, "CNN alone")),
    ("(c) taught features", RowPair(FEATURES, FUSED)),
    ("cosine better than L1?", RowPair("taught", "taught by L1")),
    ("activation map better than features?", RowPair("taught", FEATURES)),
)


def answered(record: StudyRecord | None, pair: RowPair) -> str:
    """Write what a comparison has come to, as a cell of Markdown."""
    rounds = record and rounds_of(record)
    answer: Answer | None = rounds.answers.get(pair) if rounds else None
    if answer is None or rounds is None:
        return "not run" if record is None else "not asked"
    found = answer.interval
    figures = interval_text(found).replace("[", "\\[").replace("]", "\\]") if found else ""
    cell = f"**{answer.verdict}**" + (f", {figures}" if figures else "")
    cell += f", {answer.decision.seeds} seeds"
    said = more_seeds(answer, rounds.question)
    return cell + (f"; {said}" if said else "")


def answers_table(records: dict[str, StudyRecord]) -> str:
    """Write every question with its answer on scenes and on crops."""
    lines = ["| question | scenes | crops |", "|---|---|---|"]
    for question, pair in QUESTIONS:
        cells = [answered(records.get(kind), pair) for kind in STUDIES]
        lines.append(f"| {question} | {' | '.join(cells)} |")
    return "\n".join(lines)


def section(kind: str, record: StudyRecord | None, folder: str) -> str:
    """Write the tables and the figure of a study."""
    if record is None:
        return f"Not run yet: no study `{STUDIES[kind]}` in the results that the page was made of."
    keys = [trial.key for trial in record.trials.values()]
    ended = read_table(folder, "trials", keys=keys)
    spent = ended["seconds_training"].fillna(0) + ended["seconds_scoring"].fillna(0)
    hours = float((spent * ended["cpus"].fillna(1)).sum()) / 3600
    where = ", ".join(sorted(set(ended["processor"].dropna()))) or "an unknown processor"
    parts = [f"{len(ended)} trials, {hours:.1f} CPU-core-hours of training and scoring on {where}."]
    if (info := decision_paths_info(record)) is not None:
        figure = DOCS / "figures" / f"claim_{kind}.svg"
        draw_decision_paths(info).savefig(figure, metadata={"Date": None})
        alt = "Mean difference of each comparison after each seed, with its interval"
        parts.append(f"![{alt}](figures/{figure.name})")
    builds = study_tables([record])
    parts += [to_markdown(builds[name]()).strip() for name in TABLES if name in builds]
    return "\n\n".join(parts)


def main(*folders: str) -> None:
    """Write the page of the studies that the folders hold."""
    found = {record.name: (record, folder) for folder in folders for record in read_studies(folder)}
    there = {kind: found[name] for kind, name in STUDIES.items() if name in found}
    if "scenes" not in there:
        sys.exit(f"{' '.join(folders) or 'claim_page.py'}: no study `claim` there")
    records = {kind: record for kind, (record, _) in there.items()}
    parts = {kind: section(kind, *there.get(kind, (None, ""))) for kind in STUDIES}
    page = Template((DOCS / "claim_page.txt").read_text(encoding="utf-8"))
    text = page.substitute(parts, answers=answers_table(records))
    (DOCS / "claim.md").write_text(text, encoding="utf-8")
    print(f"{DOCS / 'claim.md'}: list it in index.md once its studies have ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
