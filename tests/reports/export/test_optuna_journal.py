"""The journal of a search as Optuna itself reads it."""

import json

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from reports.export import export_results
from reports.ledger.parts import write_part
from wsss_core.errors import InputError

# number, lambda, objectives by seed in the search's order, state; number 4 was broken off
TRIALS = (
    (0, 0.5, {12: 0.20, 11: 0.30}, "complete"),
    (1, 2.0, {12: 0.10}, "pruned"),
    (2, 1.0, {12: 0.40, 11: 0.50}, "complete"),
    (3, 4.0, {12: None}, "failed"),
    (5, 3.0, {12: 0.90, 11: 0.70}, "collapsed"),
)


def write_search(results, prefix="strategies.0a1b2c3d4e", trials=TRIALS):
    for number, weight, by_seed, state in trials:
        parameters = json.dumps({"metric": "cosine", "lambda": weight})
        rows = [
            {"study": "strategies", "number": number, "configuration": f"λ {weight:g}",
             "parameters": parameters, "seed": seed, "objective": value, "state": state}
            for seed, value in by_seed.items()
        ]  # fmt: skip
        write_part(results, "search", f"{prefix}.{number:05d}", rows)


@pytest.fixture
def results(build_ledger, tmp_path):
    build_ledger(tmp_path / "results", seeds=(0,), states={}, counts=(2, 3))
    return tmp_path / "results"


def loaded(journal, name="strategies"):
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(journal)))


def test_states_values_and_parameters_read_right(results, tmp_path):
    write_search(results)
    exported = export_results(results, "optuna", out=tmp_path / "out")
    trials = loaded(exported.where).get_trials()
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4, 5]
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE,
        TrialState.FAIL, TrialState.FAIL, TrialState.FAIL,
    ]  # fmt: skip
    assert [trial.value for trial in trials] == [0.25, 0.1, pytest.approx(0.45), None, None, None]
    assert trials[0].intermediate_values == {1: 0.2, 2: 0.25}
    assert trials[2].params == {"metric": "cosine", "lambda": 1.0}
    assert trials[4].user_attrs == {"state": "broken off"}
    assert trials[5].user_attrs["state"] == "collapsed"
    # The best is the best of those that could win.
    assert loaded(exported.where).best_trial.number == 2


def test_a_search_that_went_on_is_exported_anew(results, tmp_path):
    write_search(results)
    export_results(results, "optuna", out=tmp_path / "out")
    write_search(results, trials=[(6, 0.7, {12: 0.6, 11: 0.8}, "complete")])
    exported = export_results(results, "optuna", out=tmp_path / "out")
    study = loaded(exported.where)
    assert len(study.get_trials()) == 7
    assert study.best_trial.number == 6
    assert study.best_value == pytest.approx(0.7)
    # Optuna can write behind it: the last line is whole.
    study.add_trial(optuna.trial.create_trial(value=0.9))
    assert len(loaded(exported.where).get_trials()) == 8


def test_searches_of_before_and_after_a_change_of_the_study_stay_apart(results, tmp_path):
    write_search(results)
    write_search(results, prefix="strategies.ffffffffff", trials=TRIALS[:1])
    exported = export_results(results, "optuna", out=tmp_path / "out")
    storage = JournalStorage(JournalFileBackend(exported.where))
    counts = {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(storage)}
    assert counts == {"strategies (0a1b2c3d4e)": 6, "strategies (ffffffffff)": 1}


def test_a_folder_without_a_search_is_said(results, tmp_path):
    with pytest.raises(InputError, match="no search in its ledger; expected a study with"):
        export_results(results, "optuna", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
