"""Failures grouped by cause: what is taken as the same, and what is not."""

import traceback

import pytest

from reports.results.failure_causes import (
    Failure,
    causes,
    describe_causes,
    normalised,
    own_line,
    parted,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("expected 3 classes, got 7", "expected 12 classes, got 0"),
        ("loss is 1.25e-07 in epoch 3", "loss is 4 in epoch 11"),
        ("no file /data/a/0001.png", "no file /mnt/other/run2/x_9.png"),
        ("no file ./a/b.png here", "no file ../c/d.png here"),
        ("cannot reach s3://bucket/one/2", "cannot reach gs://elsewhere"),
        ("object at 0x7f01ab is gone", "object at 0xFFe2 is gone"),
        ("train/58b6b6db82d2e9c53a40 is damaged", "train/d66aff26ddb2bce78b47 is damaged"),
        (
            "worker 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed left",
            "worker 9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d left",
        ),
        ("Tried to allocate 20.00 MiB", "Tried to allocate 1 MiB"),
    ],
)
def test_messages_that_differ_in_numbers_paths_and_keys_alone_have_one_cause(one, other):
    assert normalised(one) == normalised(other)
    assert len(causes([Failure("a", f"OSError: {one}"), Failure("b", f"OSError: {other}")])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ValueError: no", "RuntimeError: no"),
        ("ValueError: expected a mask", "ValueError: expected an image"),
        ("out of memory on the GPU", "out of memory on the machine"),
        ("layer conv1 is missing", "layer fc is missing"),
        ("expected float32", "expected int64"),
    ],
)
def test_messages_that_differ_in_words_have_causes_of_their_own(one, other):
    assert len(causes([Failure("a", one), Failure("b", other)])) == 2


def failing_here():
    raise RuntimeError("no")


def failing_there():
    raise RuntimeError("no")


def trace_of(function):
    try:
        function()
    except RuntimeError:
        return traceback.format_exc()
    raise AssertionError


def test_one_message_from_two_places_has_two_causes():
    traces = [trace_of(failing_here), trace_of(failing_there), trace_of(failing_here)]
    found = causes([Failure(str(i), "RuntimeError: no", t) for i, t in enumerate(traces)])
    assert [[failure.trial for failure in cause.failures] for cause in found] == [["0", "2"], ["1"]]
    assert found[0].place.endswith("in failing_here")
    assert "test_failure_causes.py:" in found[0].place


def test_the_place_is_the_last_line_outside_of_installed_packages():
    lines = [
        'File "/opt/env/lib/python3.11/site-packages/studies/trial.py", line 3, in run_unit',
        'File "/home/someone/losses.py", line 14, in forward',
        'File "/opt/env/lib/python3.11/site-packages/torch/nn/modules/module.py", line 5, in _call',
    ]
    assert own_line("\n".join(f"  {line}" for line in lines)) == "losses.py:14 in forward"
    assert own_line(f"  {lines[0]}\n  {lines[2]}") == "studies/trial.py:3 in run_unit"
    assert own_line(f"  {lines[2]}") == "module.py:5 in _call"
    assert own_line(None) == ""


def test_the_most_frequent_cause_comes_first_and_ties_keep_their_order():
    errors = ["ValueError: a", "KeyError: b", "OSError: c", "KeyError: b", "OSError: c"]
    found = causes(Failure(str(place), error) for place, error in enumerate(errors))
    assert [(cause.kind, cause.count) for cause in found] == [
        ("KeyError", 2),
        ("OSError", 2),
        ("ValueError", 1),
    ]
    assert found[0].example.trial == "1"


def test_a_sentence_with_a_colon_names_no_exception():
    assert parted("its teacher collapsed: balanced accuracy 50 %")[0] == ""
    assert parted("ray.exceptions.OutOfMemoryError: node") == ("OutOfMemoryError", "node")
    assert parted("KeyboardInterrupt: stopped") == ("KeyboardInterrupt", "stopped")


def test_what_is_left_out_of_the_listing_is_counted():
    words = ("one", "two", "two", "three")
    found = causes([Failure(f"trial {i}", f"ValueError: {w}") for i, w in enumerate(words)])
    lines = describe_causes(found, names=1, limit=1)
    assert lines[0] == "2 × ValueError: two"
    assert lines[1] == "    trial 1; and 1 more"
    assert lines[2] == "2 further causes, of 2 trials"
