"""Seconds that work takes, learnt from work that has ended."""

import pytest

from studies.rates import Rates, Work


@pytest.fixture
def rates() -> Rates:
    """Learnt from 10 epochs of a CNN in 50 s and in 70 s, and of a ViT in 90 s."""
    rates = Rates()
    for name, seconds in (("CNN", 50.0), ("CNN", 70.0), ("ViT", 90.0)):
        rates.learn(Work((name, "any"), 10), seconds)
    return rates


def test_work_takes_the_mean_of_its_narrowest_kind_that_is_known(rates: Rates) -> None:
    assert rates.predict(Work(("CNN, 2 cores", "CNN", "any"), 5)) == 5 * 6
    assert rates.predict(Work(("ViT", "any"), 5)) == 5 * 9
    assert rates.predict(Work(("SETR", "any"), 5)) == 5 * 7


def test_work_that_is_like_nothing_learnt_has_no_time(rates: Rates) -> None:
    assert rates.predict(Work(("scoring",))) is None
    assert not rates.knows("scoring")


def test_a_total_counts_every_piece_of_work(rates: Rates) -> None:
    works = {Work(("CNN", "any"), 5): 3, Work(("ViT", "any"), 1): 2}
    assert rates.total(works) == 3 * 30 + 2 * 9
    assert Rates().total({}) == 0


def test_a_total_is_unknown_where_the_time_of_any_work_left_is(rates: Rates) -> None:
    scoring = Work(("scoring",))
    assert rates.total({Work(("CNN",), 1): 1, scoring: 1}) is None
    assert rates.total({Work(("CNN",), 1): 1, scoring: 0}) == 6
