"""The strategies table: how each transfer changes the student."""

from collections.abc import Callable
from dataclasses import replace

from reports.names import (
    MEASURE_NAMES,
    MEASURES,
    METRIC_NAMES,
    REPRESENTATION_LABELS,
    THRESHOLD_NAMES,
    WHICH_IMAGES,
)
from reports.results.comparisons import Comparison, comparisons, control_comparisons
from reports.results.study_record import ConfigurationRecord, StudyRecord
from reports.statistics import paired_difference
from reports.tables.cells import (
    ABSENT,
    Cell,
    Column,
    Table,
    absent_cell,
    count_cell,
    difference_cell,
    mark_best,
    mean_cell,
    never_predicted_notes,
    p_cell,
    published_notes,
    share_cell,
    summary_cell,
    with_class_state,
)
from reports.tables.folds import interval_name, paired_by, spread_over
from reports.tables.segments.cost import training_seconds

CellOf = Callable[[ConfigurationRecord, str], Cell]
TextOf = Callable[[ConfigurationRecord], str | None]


def _factors(record: StudyRecord) -> list[tuple[Column, TextOf]]:
    """Return the columns of a configuration's factors."""
    networks = "Student ← teacher; ↔: both learn together."
    columns: list[tuple[Column, TextOf]] = [
        (Column("networks", "networks", about=networks), lambda one: one.networks),
        (Column("paradigm", "paradigm"), lambda one: one.paradigm),
        (Column("metric", "metric"), lambda one: METRIC_NAMES.get(str(one.metric), one.metric)),
        (Column("level", "level"), lambda one: one.transfer_level),
    ]
    if len({one.representation for one in record.configurations} - {None}) > 1:
        columns.append((Column("representation", "representation"), _representation))
    weight = Column("weight", "λ", numeric=True, about="Weight of the transfer loss.")
    return [*columns, (weight, _weight)]


def _representation(one: ConfigurationRecord) -> str | None:
    return one.representation and REPRESENTATION_LABELS.get(one.representation, one.representation)


def _weight(one: ConfigurationRecord) -> str | None:
    return None if one.transfer_weight is None else f"{one.transfer_weight:g}"


def strategies_table(record: StudyRecord) -> Table:
    """Build the study's main table: one row per configuration and class, in the plan's order."""
    several = len(record.classes) > 1
    main, *others = _measure_columns(record)
    optional, factors = _optional_columns(record), _factors(record)
    minutes = {one.name: _minutes_cell(record, one) for one in record.configurations}
    timed = any(cell.data[""] is not None for cell in minutes.values())
    columns = (
        Column("configuration", "configuration"),
        *([Column("class", "class")] if several else []),
        main,
        *(column for column, _ in optional),
        Column(
            "delta",
            "Δ student alone [95 %]",
            "points",
            True,
            True,
            f"Difference to the student alone, paired by {paired_by(record)}: mean ± sd and its "
            "t interval.",
        ),
        Column(
            "holm_p",
            "Holm p",
            numeric=True,
            about="Two-sided paired t-test, corrected over the whole table.",
        ),
        Column("n", "n", about="Healthy trials in the means, of all planned trials."),
        *others,
        *([_MINUTES] if timed else []),
        *(column for column, _ in factors),
    )
    found = {(c.configuration.name, c.class_name): c for c in record.once(comparisons)}
    rows = tuple(
        _ranked(
            record,
            one,
            Cell(one.name),
            *([Cell(name)] if several else []),
            _figure_cell(record, one, name, main.key, spell_out=True),
            *(cell_of(one, name) for _, cell_of in optional),
            *_difference_cells(found.get((one.name, name)), record, one),
            count_cell(record.states(one.name)),
            *(_figure_cell(record, one, name, column.key) for column in others),
            *([minutes[one.name]] if timed else []),
            *(_text_cell(text_of(one)) for _, text_of in factors),
        )
        for one in record.configurations
        for name in record.classes or ("",)
    )
    title = "Knowledge transfer strategies"
    table = Table("strategies", title, columns, rows, _caption(record), _notes(record))
    return mark_best(table, within="class" if several else None)


def _measure_columns(record: StudyRecord) -> list[Column]:
    """Return the columns of the student's figures, the study's main figure first."""
    found = [
        Column(
            measure,
            MEASURE_NAMES[measure],
            "%",
            higher_is_better=True,
            numeric=True,
            about=f"Mean ± sd over {'folds' if record.folds else 'seeds'} at "
            f"{THRESHOLD_NAMES[record.rule]}.",
        )
        for measure in sorted(MEASURES, key=lambda name: name != record.objective)
    ]
    found += [
        Column(
            "balanced_accuracy",
            "balanced accuracy",
            "%",
            True,
            True,
            "Of the image-level prediction on the test split.",
        ),
        Column(
            "clear_false_positive_share",
            "false positives, clear images",
            "%",
            False,
            True,
            "Share of pixels predicted foreground on images without the class.",
        ),
    ]
    return found


_MINUTES = Column(
    "minutes",
    "training in all",
    "min",
    None,
    True,
    "Mean minutes of its training and of all that had to come before it: of teachers, of the "
    "members of a fusion, and of what made masks for it.",
)


def _minutes_cell(record: StudyRecord, one: ConfigurationRecord) -> Cell:
    took = [training_seconds(record, one.name, trial.pair) for trial in record.healthy(one.name)]
    return mean_cell([seconds / 60 for seconds in took if seconds is not None], 1)


def _ranked(record: StudyRecord, one: ConfigurationRecord, *cells: Cell) -> tuple[Cell, ...]:
    """Return the cells of a row; a row that is planned under few of the seeds is never the best."""
    if record.states(one.name).total() == len(record.pairs):
        return cells
    return tuple(replace(cell, rank=None) for cell in cells)


def _figure_cell(
    record: StudyRecord,
    one: ConfigurationRecord,
    name: str,
    figure: str,
    *,
    network: str = "student",
    spell_out: bool = False,
) -> Cell:
    by_seed = record.by_seed(one.name, figure, class_name=name, network=network)
    cell = summary_cell(by_seed, record.states(one.name), spell_out=spell_out)
    if network != "student":
        return cell
    return with_class_state(cell, record, one.name, name, figure)


def _text_cell(text: str | None) -> Cell:
    return Cell(text or ABSENT, data={"": text})


def _difference_cells(
    compared: Comparison | None, record: StudyRecord, one: ConfigurationRecord
) -> tuple[Cell, Cell]:
    if compared is None:
        is_baseline = any(other.baseline == one.name for other in record.configurations)
        first = Cell("baseline" if is_baseline else ABSENT, data={"mean": None})
        return first, absent_cell()
    cell = difference_cell(compared.difference, record.states(one.name))
    cell = with_class_state(cell, record, one.name, compared.class_name, "delta")
    return cell, p_cell(compared.corrected_p)


def _caption(record: StudyRecord) -> str:
    caption = (
        f"Test split, at {THRESHOLD_NAMES[record.rule]}. Cells are mean ± sample standard "
        f"deviation over {spread_over(record)}, in percent. Per-image IoU is the mean over the "
        f"images that hold the class. {WHICH_IMAGES} The difference is to the student alone of the "
        f"same {paired_by(record)}, with a {interval_name(record)} and a paired t-test, "
        "Holm-corrected over the table. Bold: the best of the rows with all "
        f"{'trials' if record.folds else 'seeds'}."
    )
    n = len(record.folds or record.seeds)
    if n <= 3:
        unit = "fold" if record.folds else "seed"
        caption += (
            f" With n = {n} such intervals are wide, and a mean over one {unit} has no spread."
        )
    return caption


def _optional_columns(record: StudyRecord) -> list[tuple[Column, CellOf]]:
    """Return the columns of published figures, of co-trained networks and of the teacher.

    The main column of a co-trained configuration is the student's. Its partner and the fusion of
    both maps have columns of their own.
    """

    def published(one: ConfigurationRecord, name: str) -> Cell:
        return share_cell(one.published if name == record.main_class else None, 2)

    def network(role: str) -> CellOf:
        def cell(one: ConfigurationRecord, name: str) -> Cell:
            if not _together(one):
                return absent_cell("mean")
            return replace(
                _figure_cell(record, one, name, record.objective, network=role), rank=None
            )

        return cell

    def teacher(one: ConfigurationRecord, name: str) -> Cell:
        reference = record.configuration(one.reference)
        if reference is None:
            return absent_cell("mean")
        difference = paired_difference(
            record.by_seed(one.name, record.objective, class_name=name),
            record.by_seed(reference.name, record.objective, class_name=name),
        )
        return difference_cell(difference, record.states(one.name))

    found: list[tuple[Column, CellOf]] = []
    if any(one.published is not None for one in record.configurations):
        about = "A figure of another work, on another data set: do not compare the levels."
        found.append((Column("published", "published", "%", None, True, about), published))
    if any(_together(one) for one in record.configurations):
        for role, header in (("teacher", "partner"), ("fused", "fused")):
            about = f"The main figure of the {header} {'maps' if role == 'fused' else 'network'}."
            found.append((Column(header, header, "%", None, True, about), network(role)))
    if any(record.configuration(one.reference) for one in record.configurations):
        about = (
            f"Difference to the teacher alone of the same {paired_by(record)}: mean ± sd and its "
            "t interval."
        )
        header = "Δ teacher alone [95 %]"
        found.append((Column("delta_teacher", header, "points", None, True, about), teacher))
    return found


def _together(one: ConfigurationRecord) -> bool:
    """Return whether two networks learn together, each of which is scored."""
    return one.teacher is not None and one.paradigm in ("co-training", "single-stage")


def _notes(record: StudyRecord) -> tuple[str, ...]:
    """Explain the optional columns in words, for formats without tooltips."""
    notes = published_notes(one.published_from for one in record.configurations)
    if joined := [one for one in record.configurations if one.joined]:
        names, count = ", ".join(one.name for one in joined), int(joined[0].joined or 0)
        notes.append(
            f"{count} images with masks join the training of {names}, by their image-level labels. "
            "No row is scored on them."
        )
    if any(_together(one) for one in record.configurations):
        notes.append(
            "Co-training: the row is the student's. Partner: the network that learns beside it. "
            f"Fused: the average of both maps. Each has its {MEASURE_NAMES[record.objective]}."
        )
    if any(one.fusion for one in record.configurations):
        notes.append(
            "Fused rows train nothing: they are made of the stored maps, or averaged weights, of "
            "networks that were trained apart."
        )
    if any(record.configuration(one.reference) for one in record.configurations):
        pairs = paired_by(record)
        notes.append(f"The difference to the teacher alone is paired by {pairs} and not corrected.")
    said = {
        (trial.configuration, text): None
        for trial in record.trials.values()
        if (text := trial.row.get("random_parts"))
    }
    notes += [
        f"{configuration} began with a part of its weights: {text}." for configuration, text in said
    ]
    return (*notes, *never_predicted_notes(record))


def has_controls(record: StudyRecord) -> bool:
    """Return whether a study has scores, aligned rows and rows that are fused without training."""
    fused = any(one.fusion is not None for one in record.configurations)
    return bool(record.classes) and fused and any(one.teacher for one in record.configurations)


def controls_table(record: StudyRecord) -> Table:
    """Build the table of taught rows against fused ones: is it the teaching, or two opinions?"""
    several = len(record.classes) > 1
    percent = MEASURE_NAMES[record.objective]
    over = f"Mean ± sd over {spread_over(record)} at {THRESHOLD_NAMES[record.rule]}."
    columns = (
        Column("configuration", "taught"),
        Column("control", "control", about="Networks trained apart and fused, without training."),
        Column("of", "made of"),
        *([Column("class", "class")] if several else []),
        Column("taught", f"taught, {percent}", "%", numeric=True, about=over),
        Column("fused", f"control, {percent}", "%", numeric=True, about=over),
        Column(
            "delta",
            "Δ taught − control [95 %]",
            "points",
            numeric=True,
            about=f"Paired by {paired_by(record)}: mean ± sd and its t interval.",
        ),
        Column("holm_p", "Holm p", numeric=True, about="Corrected over the whole table."),
        Column("pairs", "pairs", numeric=True, about="Seeds, or folds, that both have."),
    )
    rows = []
    for one in control_comparisons(record):
        taught, control, name = one.configuration, one.control, one.class_name
        states = record.states(taught.name) + record.states(control.name)
        rows.append(
            (
                Cell(taught.name),
                Cell(control.name),
                Cell(_made_of(control)),
                *([Cell(name)] if several else []),
                _figure_cell(record, taught, name, record.objective, spell_out=True),
                _figure_cell(record, control, name, record.objective, spell_out=True),
                difference_cell(one.difference, states),
                p_cell(one.corrected_p),
                Cell(str(one.difference.summary.n), data={"": one.difference.summary.n}),
            )
        )
    caption = (
        "Is it the teaching, or having two opinions? Each taught or co-trained row against rows "
        "that fuse networks which were trained apart. Above 0 the teaching gives more than the "
        f"fusion. Test split, at {THRESHOLD_NAMES[record.rule]}, with a {interval_name(record)}."
    )
    title = "Controls without training"
    return Table("controls", title, columns, tuple(rows), caption, _pairing(record))


def _made_of(control: ConfigurationRecord) -> str:
    fusion = control.fusion
    assert fusion is not None
    seeds = f"{fusion.seeds} seeds of " if fusion.seeds > 1 else ""
    return f"{seeds}{' + '.join(fusion.of)}, {fusion.how}"


def _pairing(record: StudyRecord) -> tuple[str, ...]:
    """Say how ensembles over seeds are paired, where the study has any."""
    if not any(one.fusion and one.fusion.seeds > 1 for one in record.configurations):
        return ()
    return (
        "An ensemble over seeds has one result for each block of seeds, under the first seed of "
        "the block; blocks share no network. It is paired with other rows by that seed, so its "
        "comparisons have fewer pairs.",
    )
