#!/usr/bin/env bash
# One would guess: `pytest -n 2 --dist loadgroup` runs tests that share the mark xdist_group in one
# process, and a pair of releases in which it cannot fails or warns.
#
# What happens: with pytest 9.2.0 and pytest-xdist 3.8.0, the newest of both, the groups are gone
# and nothing says so. xdist hands a group on by writing it behind the test's name into a field of
# the item that pytest 9.2 no longer reads. The scheduler still reports itself as that of groups and
# sends each test wherever there is room; with pytest 9.1.1 each group stays in one process. (xdist
# knows: its issue 1386.)
#
# Why it matters: groups are there for what a machine has once: a GPU, a port, a local cluster of
# Ray, a fixture that takes a minute. Two processes then start two clusters on the same cores, tests
# become slow or fail now and then, and the run's header still names the scheduler of groups.
#
# Seen on 29 November 2026 with Python 3.11.7 on Linux: two groups of 12 tests in two processes.
# pytest 9.1.1: one process each. pytest 9.2.0: both in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/test_groups.py" <<'PYTHON'
import os
import time

import pytest


def note(group):
    time.sleep(0.05)
    with open(f"{group}.log", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(12))
def test_one(number):
    note("one")


@pytest.mark.xdist_group("other")
@pytest.mark.parametrize("number", range(12))
def test_other(number):
    note("other")
PYTHON
seen=""
for version in 9.1.1 9.2.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "pytest==$version" pytest-xdist==3.8.0
    mkdir "$folder/run-$version"
    cp "$folder/test_groups.py" "$folder/run-$version"
    cd "$folder/run-$version"
    "$folder/$version/bin/pytest" -q -p no:cacheprovider -n 2 --dist loadgroup > said.txt || { cat said.txt; exit 1; }
    for group in one other; do
        ran=$(wc -l < "$group.log" | tr -d ' ')
        processes=$(sort -u "$group.log" | wc -l | tr -d ' ')
        echo "pytest $version, xdist 3.8.0: $ran tests of group '$group' ran in $processes process(es)"
        seen="$seen $ran/$processes"
    done
done
[ "$seen" = " 12/1 12/1 12/2 12/2" ] || { echo "this has changed:$seen"; exit 1; }
