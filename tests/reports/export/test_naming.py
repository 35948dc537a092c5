"""Names for tools: accepted by their rules, and as many as before."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.export.naming import distinct, folder_name, identifier_path, path_like

ODD = st.text(st.sampled_from("aAbλΛé%(=|)_-. /:←"), max_size=8)
RULES = {
    # MLflow: letters of any script; no name that means another as a path.
    path_like: lambda name: (
        re.fullmatch(r"[/\w.\- :]+", name) and all(part.strip(".") for part in name.split("/"))
    ),
    identifier_path: lambda name: re.fullmatch(r"[A-Za-z][A-Za-z0-9_/-]*", name),
    folder_name: lambda name: "/" not in name and name[0] != "." and name.strip() == name,
}


@pytest.mark.parametrize("clean", RULES)
@given(st.lists(ODD, unique=True, max_size=6))
def test_names_are_accepted_and_no_two_become_one(clean, names):
    cleaned = distinct({name: name for name in names}, clean)

    assert list(cleaned) == names
    assert len({name.casefold() for name in cleaned.values()}) == len(names)
    assert all(RULES[clean](name) for name in cleaned.values())


def test_a_name_does_not_depend_on_the_names_that_come_after_it():
    first = distinct({name: name for name in ("a=b", "a|b")}, path_like)
    assert (
        distinct({name: name for name in ("a=b", "a|b", "a%b")}, path_like)["a|b"] == first["a|b"]
    )


def test_long_names_are_cut_by_bytes_and_stay_different():
    names = {n: "λ" * 300 + str(n) for n in range(3)}
    cleaned = distinct(names, path_like, 250)
    assert len(set(cleaned.values())) == 3
    assert all(len(name.encode()) <= 250 for name in cleaned.values())
