"""Several drivers on one folder of masks: nothing is made twice, nothing is left."""

import dataclasses
import shutil
import subprocess
import sys
import threading

import pytest

import studies.masks.sharing
import studies.masks.worker
from studies.masks.folder import make_missing_masks
from studies.masks.sharing import leases_of

DIES_WITH_A_SHARE = """
import os, signal, sys
from studies.masks.sharing import leases_of
assert leases_of(sys.argv[1]).take("masks", "1of3") is not None
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def job(crops, tmp_path, monkeypatch):
    """Six images in three shares."""
    shutil.copytree(crops.images, tmp_path / "images")
    monkeypatch.setattr(studies.masks.sharing, "SHARE", 2)
    monkeypatch.setattr(studies.masks.sharing, "LOOK_S", 0.02)
    return dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))


@pytest.fixture
def written(monkeypatch):
    """The names of the masks that were written, in order."""
    write, names = studies.masks.worker.write_mask, []

    def counted(mask, target, unfinished, origin, **more):
        names.append(target.name)
        write(mask, target, unfinished, origin, **more)

    monkeypatch.setattr(studies.masks.worker, "write_mask", counted)
    return names


def test_two_drivers_make_each_mask_once_and_both_end_with_all(job, written):
    made = []
    drivers = [
        threading.Thread(
            target=lambda: made.append(make_missing_masks(job, in_process=True, batch=1))
        )
        for _ in range(2)
    ]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(60)
    assert sorted(written) == [f"{number}.png" for number in range(6)]
    assert [one.written + one.there_before for one in made] == [6, 6]
    assert [one.failed for one in made] == [{}, {}]
    assert leases_of(job.out).owners() == []


@pytest.mark.ci
def test_a_share_of_another_driver_is_left_to_it_until_it_gives_the_lease_back(job, written):
    with leases_of(job.out).take("masks", "1of3") as lease:
        driver = threading.Thread(target=lambda: make_missing_masks(job, in_process=True))
        driver.start()
        driver.join(3)
        assert driver.is_alive()
        assert sorted(written) == ["0.png", "1.png", "4.png", "5.png"]
        assert not lease.lost
    driver.join(60)
    assert sorted(written) == [f"{number}.png" for number in range(6)]


@pytest.mark.ci
def test_the_share_of_a_killed_driver_is_taken_over(job, written):
    make_missing_masks(job, in_process=True)
    job.mask_file("2.png").unlink()
    written.clear()
    killed = subprocess.run([sys.executable, "-c", DIES_WITH_A_SHARE, job.out], check=False)
    assert killed.returncode == -9
    assert make_missing_masks(job, in_process=True).written == 1
    assert written == ["2.png"]
