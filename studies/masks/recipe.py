"""Choose the trained network, the chain and the threshold of a finished study for pseudo masks.

The choice is a query of the study's outcomes. Where the user selects nothing, figures of the tune
split alone decide, so that masks of test images may still be scored.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from reports.names import OWN_CHAIN_ROWS, PLAIN, TUNED_CHAIN
from reports.pairing import pair_of
from reports.results.comparisons import tuned_chains
from reports.results.other_gatings import label_gated_choice, needs_label_gating
from reports.results.reading import read_studies
from reports.results.study_record import StudyRecord, TrialRecord
from reports.results.trial_cache import read_scores
from reports.storage import Location
from studies.formatting import expected_names
from studies.masks.stored_parts import checked_steps, job_key, recorded_chain
from studies.planning import Chain, ImageSplits, MapScaling, TrainingJob
from studies.store import ArtifactStore
from wsss_core.cams.settings import CamSettings
from wsss_core.errors import InputError
from wsss_core.evaluate import level_of
from wsss_core.plugins import is_plugin

_COLUMNS = (
    "configuration", "seed", "fold", "chain", "trial_key", "status", "network", "class_name",
    "split", "rule", "level",
)  # fmt: skip


@dataclass(frozen=True)
class MaskSelection:
    """The user's selection of what makes the masks; the tune split selects where a field is None.

    Attributes:
        study: the study's name; None: the only one.
        configuration: the configuration whose network makes CAMs.
        seed: the seed of that network.
        chain: the name of the refinement chain; None or "none": the plain CAM; "tuned chain": the
            one that is best on the tune split, for the network.
        rule: the threshold rule; None: that of the study's tables.
        threshold: a threshold from 0 to 1 instead of a rule's.
        fold: the fold of that network, in a study with folds; it has to be given.
        labelled: whether known labels gate the maps, in place of the study's gating.

    """

    study: str | None = None
    configuration: str | None = None
    seed: int | None = None
    chain: str | None = None
    rule: str | None = None
    threshold: float | None = None
    fold: int | None = None
    labelled: bool = False


@dataclass(frozen=True)
class MaskRecipe:
    """Everything that decides a mask; it travels to workers whole.

    Attributes:
        study: the study's name.
        configuration: the configuration whose network makes CAMs.
        seed: the seed of that network.
        trial_key: the key of that trial.
        scores_key: the key of the scores that the threshold was chosen by.
        training: the training run of the network.
        store: the artifact store that holds the network.
        chain: the refinement chain.
        scaling: how raw maps become scores; its gating is "labels" if known labels gate them.
        fitted_states: for each step, the key of its fitted state; None if it learns nothing.
        rule: the rule that chose the threshold; "given" if the user did.
        level: the threshold, 0 to 255.
        fold: the number of the network's fold; None in a study without folds.
        never_predicted: classes whose maps of the tune images that hold them gating has emptied.

    """

    study: str
    configuration: str
    seed: int
    trial_key: str
    scores_key: str
    training: TrainingJob
    store: str
    chain: Chain
    scaling: MapScaling
    fitted_states: tuple[str | None, ...]
    rule: str
    level: int
    fold: int | None = None
    never_predicted: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of their numbers in a mask."""
        return self.training.classes

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins of the network and of the chain: name -> version."""
        student = self.training.settings["student"]
        own = {student["model"]: str(student["version"])} if is_plugin(student["model"]) else {}
        return self.chain.plugins | own

    def as_record(self) -> dict[str, Any]:
        """Return what a reader of the masks has to know, and what a run that resumes must share."""
        steps = [step.identity for step in self.chain.steps]
        return {
            "study": self.study,
            "configuration": self.configuration,
            "seed": self.seed,
            **({} if self.fold is None else {"fold": self.fold}),
            "trial_key": self.trial_key,
            "scores_key": self.scores_key,
            "refinement": self.chain.name,
            "chain": {"cam": self.chain.cam.as_config(), "steps": steps},
            **asdict(self.scaling),
            "rule": self.rule,
            "level": self.level,
            "threshold": self.level / 255,
        }


def choose_recipe(
    results: Location, store: ArtifactStore, selection: MaskSelection
) -> tuple[MaskRecipe, list[str]]:
    """Return a recipe by the outcomes of a results folder, and lines that say how it was chosen.

    Raises:
        InputError: no such study, configuration, seed, chain or threshold (the message names what
            there is), or a store that lacks what the recipe needs.

    """
    record = _study(read_studies(results), selection.study)
    rows = _candidates(record, selection.chain)
    fold, rows, lines = _of_fold(record, rows, selection.fold)
    tuned_on = _tuned_by_labels(results, record, rows) if selection.labelled else {}
    configuration, why_configuration = _choose(
        "configuration", selection.configuration, record, rows
    )
    rows = rows[rows["configuration"] == configuration]
    seed, why_seed = _choose("seed", selection.seed, record, rows)
    rows = rows[rows["seed"] == seed]
    level, rule, why_level = _level(record, rows, selection)

    trial = record.trials[configuration, pair_of(seed, fold)]
    scores_key = str(rows["trial_key"].iloc[0])
    settings = json.loads(trial.row["settings"])
    cam = settings.pop("cam")
    scaling = MapScaling(cam["normalisation"], cam["gating"])
    chosen_chain = str(rows["chain"].iloc[0])
    scored = record.all_trials[configuration, pair_of(seed, fold), chosen_chain]
    never = () if selection.labelled else _never_predicted(scored, settings["classes"])
    if selection.labelled and rule == "tuned" and cam["gating"] == "predicted":
        on_labels = tuned_on.get((configuration, seed), False)
        why_level += f", on maps gated by {'labels' if on_labels else 'the prediction'}"
    chain = Chain(PLAIN, CamSettings(**cam.get("cam", {})), ())
    if scores_key != trial.key:
        chain = recorded_chain(results, scores_key)
    training = TrainingJob(
        key=job_key(store, trial.key),
        settings=settings,
        images=ImageSplits(settings["image_size"], {"train": trial.row["train_fingerprint"]}),
    )
    recipe = MaskRecipe(
        study=record.name,
        configuration=configuration,
        seed=seed,
        trial_key=trial.key,
        scores_key=scores_key,
        training=training,
        store=store.where,
        chain=chain,
        scaling=replace(scaling, gating="labels") if selection.labelled else scaling,
        fitted_states=checked_steps(store, training, chain, scaling),
        rule=rule,
        # Several classes: level 0 stands for "nothing competes" and is no threshold.
        level=max(1, level) if len(settings["classes"]) > 1 else level,
        fold=fold,
        never_predicted=never,
    )
    states = _states(record, chain.name)
    why_chain = " (the best on the tune split)" if selection.chain == TUNED_CHAIN else ""
    to_do = f" ({states['to do']} of {states.total()} trials to do)" if states["to do"] else ""
    return recipe, [
        *lines,
        f"configuration {configuration} ({why_configuration})",
        f"seed {seed} ({why_seed})",
        f"chain {chain.name}{to_do}{why_chain}",
        f"threshold {recipe.level / 255:.3f}, level {recipe.level} ({why_level})",
    ]


def _study(records: list[StudyRecord], name: str | None) -> StudyRecord:
    names = [record.name for record in records]
    if name is None and len(records) > 1:
        raise InputError(f"several studies are there; --study: {expected_names(names)}")
    if name is not None and name not in names:
        raise InputError(f"--study {name!r}: {expected_names(names, name)}")
    return next(record for record in records if name in (None, record.name))


def _candidates(record: StudyRecord, chain: str | None) -> pd.DataFrame:
    """Return the outcomes that are chosen from, of the main class, under one chain.

    They are those of the students of trials that ended well, both plain and under the chain.
    """
    chains: dict[str, str | None] = {PLAIN: None}
    chains |= {one.name: one.lacks for one in record.chains if one.name not in OWN_CHAIN_ROWS}
    if len(chains) > 1:
        chains[TUNED_CHAIN] = None
    chain = chain or PLAIN
    if chain not in chains:
        raise InputError(f"--chain {chain!r}: {expected_names(chains, chain)}")
    if lacks := chains[chain]:
        raise InputError(f"--chain {chain!r}: was not run: {lacks}")
    found = record.outcomes().rename(columns={"refinement": "chain"})
    found = found.reindex(columns=[*_COLUMNS, record.objective])  # without trials it has fewer
    fused = [one.name for one in record.configurations if one.fusion and one.fusion.fuses_maps]
    found = found[~found["configuration"].isin(fused)]  # masks are made by one network
    of_student = (found["network"] == "student") & (found["class_name"] == record.main_class)
    ok = found[of_student & (found["status"] == "ok")]
    plain = ok.loc[ok["chain"] == PLAIN, ["configuration", "seed", "fold"]].drop_duplicates()
    rows = ok.merge(_tuned(record) if chain == TUNED_CHAIN else plain.assign(chain=chain))
    if rows.empty:
        ended = ", ".join(f"{count} {state}" for state, count in _states(record, chain).items())
        raise InputError(
            f"{record.name}, chain {chain}: no trial ended well ({ended}), so none makes masks"
        )
    return rows


def _tuned(record: StudyRecord) -> pd.DataFrame:
    """Return the chain of each network that is best on the tune split, of the main class."""
    found = [
        (trial.configuration, trial.seed, trial.fold, chain)
        for one in record.configurations
        for pair, chain in tuned_chains(record, one.name, record.main_class).items()
        for trial in (record.trials[one.name, pair],)
    ]
    if not found:
        raise InputError(
            f"--chain {TUNED_CHAIN!r}: no network of {record.name} has figures of the tune split "
            "under all its chains"
        )
    frame = pd.DataFrame(found, columns=["configuration", "seed", "fold", "chain"])
    return frame.astype({"fold": np.float64})


def _of_fold(
    record: StudyRecord, rows: pd.DataFrame, asked: int | None
) -> tuple[int | None, pd.DataFrame, list[str]]:
    """Return the fold that was asked for, its rows, and a line that says what it left out.

    No fold is the best: the figures of two are over other images.
    """
    if not record.folds:
        if asked is not None:
            raise InputError(f"--fold {asked}: {record.name} has no folds")
        return None, rows, []
    ended = set(rows["fold"].astype(int))
    there = {f.number: f"{f.number} (without {f.label})" for f in record.folds if f.number in ended}
    if asked not in there:
        given = "" if asked is None else f" {asked}"
        names = list(there.values())
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        raise InputError(
            f"--fold{given}: {record.name} has networks of {len(record.folds)} folds, each trained "
            f"without some {record.folds[0].by}s; expected one of {', '.join(names[:6])}{more}"
        )
    return asked, rows[rows["fold"] == asked], [f"fold {there[asked]} (as asked)"]


def _tuned_by_labels(
    results: Location, record: StudyRecord, rows: pd.DataFrame
) -> dict[tuple[str, int], bool]:
    """Tune plain candidates' thresholds anew, on maps gated by labels; change the rows in place.

    Returns:
        Whether a trial's threshold is now that of maps gated by labels, by configuration and seed.

    """
    found = {}
    for _, of_trial in rows[rows["chain"] == PLAIN].groupby(["configuration", "seed"]):
        scores = read_scores(results, str(of_trial["trial_key"].iloc[0]))
        choice = label_gated_choice(scores, record.objective)
        where = str(of_trial["configuration"].iloc[0]), int(of_trial["seed"].iloc[0])
        found[where] = choice is not None or not needs_label_gating(scores)
        if choice is None:
            continue
        tuned = of_trial[of_trial["rule"] == "tuned"]
        rows.loc[tuned.index, "level"] = float(choice.level)
        rows.loc[tuned.index[tuned["split"] == "tune"], record.objective] = choice.reached
    return found


def _never_predicted(trial: TrialRecord, classes: Iterable[str]) -> tuple[str, ...]:
    """Return the classes that a trial predicts in no tune image that holds them."""
    return tuple(name for name in classes if trial.never_predicted(name, "fixed", split="tune"))


def _states(record: StudyRecord, chain: str) -> Counter[str]:
    """Return the state of every trial under a chain, in the words of `wsss status`."""
    trials = [trial for (_, _, name), trial in record.all_trials.items() if name == chain]
    return Counter("to do" if trial.status == "missing" else trial.status for trial in trials)


def _choose(
    column: Literal["configuration", "seed"],
    asked: str | int | None,
    record: StudyRecord,
    rows: pd.DataFrame,
) -> tuple[Any, str]:
    """Return the value of a column that was asked for, else the best, and how it was chosen."""
    there = rows[column].unique().tolist()
    if asked is not None:
        if asked not in there:
            if any(getattr(trial, column) == asked for trial in record.trials.values()):
                one = record.configuration(str(asked)) if column == "configuration" else None
                several = one and one.fusion and one.fusion.fuses_maps
                why = "fuses several networks" if several else "did not end well"
                raise InputError(f"--{column} {asked!r} {why}: {expected_names(there)}")
            raise InputError(f"--{column} {asked!r}: {expected_names(there, asked)}")
        return asked, "as asked"
    if len(there) == 1:
        return there[0], "the only one that ended well"
    tuned = rows[(rows["split"] == "tune") & (rows["rule"] == record.rule)]
    figures = tuned.groupby(column, sort=False)[record.objective].mean().dropna()
    if figures.empty:
        raise InputError(f"no figures of the tune split; --{column}: {expected_names(there)}")
    best = figures.index.tolist()[figures.argmax()]
    if not figures.max() > 0:
        return best, f"of {len(there)}, all 0 by {record.objective} on the tune split, the first"
    mean = f", {figures.max():.4f} in the mean over seeds" if column == "configuration" else ""
    return best, f"of {len(there)} the best by {record.objective} on the tune split{mean}"


def _level(
    record: StudyRecord, rows: pd.DataFrame, selection: MaskSelection
) -> tuple[int, str, str]:
    """Return the threshold's level, the rule's name, and how the level was chosen."""
    if selection.threshold is not None:
        if selection.rule is not None:
            raise InputError("--threshold and --rule: expected one of them")
        if not 0 <= selection.threshold <= 1:
            raise InputError(f"--threshold {selection.threshold}: expected a value from 0 to 1")
        return level_of(selection.threshold), "given", "as given"
    rule = selection.rule or record.rule
    levels = rows[rows["split"] == "test"].set_index("rule")["level"].dropna()
    if rule not in levels:
        raise InputError(
            f"--rule {rule!r}: chose no level here; {expected_names(levels.index, rule)}"
        )
    return int(levels[rule]), rule, f"rule {rule}"
