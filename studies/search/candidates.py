"""A search over ways to transfer: what it begins with, what it has tried, what its best become.

A search's own numbers chose its winners and are therefore no results. They are kept in the ledger's
`search` table, from which a search that was broken off goes on; what is reported is the best
configurations again, under seeds that the search has not seen. Running it is `studies.search.run`.
"""

import hashlib
import json
import logging
from dataclasses import replace
from itertools import product

import pandas as pd

from reports.ledger.parts import part_name, read_table, table_folder
from reports.storage import Location
from studies.planning import Plan, Planner, StudyImages, TrainingJob, Trial, laid_over
from studies.spec.configuration import Configuration
from studies.spec.configuration_names import configuration_name
from studies.spec.search import Search
from studies.spec.settings import training_in_key
from studies.spec.study import Study
from studies.store import canonical
from wsss_core.errors import InputError

logger = logging.getLogger(__name__)

Point = dict[str, str | float]
"""A point of a search's space: the names and numbers of one configuration."""


def search_of(study: Study) -> Search:
    """Return the `search` section of a study that has one."""
    assert study.search is not None
    return study.search


def first_jobs(study: Study, images: StudyImages | None = None) -> tuple[Planner, Plan]:
    """What can be known of a search before it begins: the jobs of one point of its space.

    Args:
        study: with a `search` section.
        images: see `studies.planning.planner.Planner`.

    Returns:
        The planner of all its jobs, and a plan of these.

    """
    search = search_of(study)
    planner = Planner(study, {}, images)
    first = search.configuration(_a_point(search))
    for seed in search.seeds:
        planner.job(first, seed)
    return planner, Plan(study, planner.jobs, planner.cam, [planner.images])


def jobs_left(planner: Planner, count: int) -> list[TrainingJob]:
    """What a search will train at most, and then the confirmation of its best; for an estimate.

    Args:
        planner: of a study with a `search` section.
        count: configurations that are left to try.

    Returns:
        Teachers, and stand-ins for configurations that nobody knows yet.

    """
    study, search = planner.study, search_of(planner.study)
    configuration = search.configuration(_a_point(search))
    chains = {
        chain.name: f"chain {n}"
        for n, chain in enumerate(planner.chains)
        if chain.lacks is None and chain.configurations is None
    }
    found = []
    for times, seeds, refined in (
        (count, search.seeds, {}),
        (search.confirm, study.seeds, chains),
    ):
        for seed, each in product(seeds, range(times)):
            key = f"stand-in {each}, seed {seed}"  # no seed of the search is one of the study
            trial = Trial(key, key, 0, seed, configuration, None, refined)
            found.append(replace(planner.job(configuration, seed), key=key, trials=(trial,)))
    awaited = {key for job in found for key in job.needs}
    return [job for key, job in planner.jobs.items() if key in awaited] + found


def confirmation(study: Study, searched: pd.DataFrame) -> Study:
    """The study without its search and with the winners as rows.

    Args:
        study: with a `search` section.
        searched: rows of the ledger's `search` table.

    Raises:
        InputError: no search trial was scored under all seeds.

    """
    search = search_of(study)
    whole = searched[searched["state"] == "complete"]
    if whole.empty:
        raise InputError(f"{study.study}: no search trial was scored under all of its seeds")
    means = whole.groupby("number").agg(
        objective=("objective", "mean"), parameters=("parameters", "first")
    )
    best = means.sort_values("objective", ascending=False, kind="stable")
    best = best.drop_duplicates("parameters").head(search.confirm)
    raw = study.model_dump(by_alias=True, exclude_unset=True)
    del raw["search"]
    for rank, (_, found) in enumerate(best.iterrows(), 1):
        configuration = search.configuration(json.loads(found["parameters"]))
        name = f"search {rank}: {candidate_name(configuration, study)}"
        logger.info("  %s: %.1f %% on the tune split", name, 100 * found["objective"])
        raw["configurations"].append(
            {
                "name": name,
                "paradigm": configuration.paradigm,
                "student": configuration.student,
                "teacher": configuration.teacher,
                "metric": configuration.metric,
                "level": configuration.transfer_level,
                "representation": configuration.representation,
                "lambda": configuration.transfer_weight,
                "training": configuration.training.model_dump(exclude_none=True),
            }
        )
    return Study.model_validate(raw)


def parts_prefix(planner: Planner) -> str:
    """What names the parts of this very search; another space, data or training is another."""
    study, search = planner.study, search_of(planner.study)
    content = canonical(
        [
            search.model_dump(mode="json", by_alias=True, exclude={"trials", "confirm"}),
            planner.backbones[search.student][0],
            planner.backbones[search.teacher][0],
            training_in_key(study.training),
            planner.cam.as_settings(),
            planner.images.splits.fingerprints,
            study.thresholds.objective,
            *laid_over(
                planner.cam.cam,
                planner.cam.size,
                *(planner.backbones[name][0] for name in (search.student, search.teacher)),
            ),
        ]
    )
    digest = hashlib.blake2b(content.encode(), digest_size=5).hexdigest()
    return f"{study.file_name}.{digest}."


def tried(results: Location, prefix: str) -> pd.DataFrame:
    """Return the rows of the ledger's `search` table of the configurations that were tried."""
    names = table_folder(results, "search").listing()
    keys = [name.removesuffix(part_name("")) for name in names if name.startswith(prefix)]
    return read_table(results, "search", keys=keys)


def _a_point(search: Search) -> Point:
    space = search.space
    return {
        "metric": space.metric[0],
        "level": space.transfer_level[0],
        "representation": space.representation[0],
        "lambda": space.transfer_weight.low,
    }


def candidate_name(configuration: Configuration, study: Study) -> str:
    """Return what a configuration of a search is called."""
    name = configuration_name(configuration, study.label, name_networks=False)
    rate = configuration.training.learning_rate
    known = f"{name}, λ {configuration.transfer_weight:g}"
    return known if rate is None else f"{known}, rate {rate:g}"
