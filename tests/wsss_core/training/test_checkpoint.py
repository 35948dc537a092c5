"""A checkpoint that is not whole is never gone on from: the training begins anew and says so."""

import io
import logging
import random

import numpy as np
import pytest
import torch

from tests.wsss_core.broken_off import BrokenOffError
from wsss_core.errors import InputError
from wsss_core.training import TrainingSettings, train
from wsss_core.transfer import Single
from wsss_core.whole_files import TRAILER_BYTES, DigestWriter, check_digest

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
LABELS = np.array([[True], [False]] * 3)
SETTINGS = TrainingSettings(epochs=2, batch_size=3, learning_rate=3e-3)


@pytest.fixture
def trained(cnn):
    """Trains with a checkpoint; returns epochs that were run, losses and weights."""

    def run(checkpoint, *, stop_after=None):
        network, ran = cnn(), []

        def after(record):
            ran.append(record.epoch)
            if record.epoch + 1 == stop_after:
                raise BrokenOffError

        history = train(
            Single(network),
            IMAGES,
            LABELS,
            SETTINGS,
            seed=3,
            checkpoint=checkpoint,
            on_epoch=after,
        )
        return ran, [record.loss for record in history], network.state_dict()

    return run


@pytest.fixture
def half(trained, tmp_path):
    """A checkpoint after the first of two epochs."""
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(BrokenOffError):
        trained(file, stop_after=1)
    return file


def flipped(content, position):
    damaged = bytearray(content)
    damaged[position // 8] ^= 1 << position % 8
    return bytes(damaged)


def damages(content):
    """Name -> content of a checkpoint as rot, a lost page and a cut leave it."""
    chosen = random.Random(0)
    found = {f"bit {n}": flipped(content, n) for n in chosen.sample(range(8 * len(content)), 300)}
    for at in range(0, len(content), 4096):
        page = content[:at] + bytes(min(4096, len(content) - at)) + content[at + 4096 :]
        found |= {f"page {at}": page} if page != content else {}
    found |= {f"cut {n}": content[:n] for n in (0, 1, 100, len(content) // 2, len(content) - 1)}
    return found | {"longer": content + b"\\0", "without digest": content[:-TRAILER_BYTES]}


def test_every_damage_of_a_checkpoint_is_noticed(half, tmp_path):
    content = half.read_bytes()
    check_digest(half)
    noticed = 0
    for damaged in damages(content).values():
        file = tmp_path / "damaged.pt"
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="differs from the digest"):
            check_digest(file)
        noticed += 1
    assert noticed > 300


@pytest.mark.parametrize("damage", ["bit", "page", "cut", "other networks", "no state", "unread"])
def test_a_damaged_checkpoint_begins_anew_with_a_warning(half, trained, damage, caplog, tmp_path):
    caplog.set_level(logging.WARNING)
    _, losses, weights = trained(None)
    content = half.read_bytes()
    state = torch.load(half, weights_only=True)
    if damage == "other networks":
        # Of all parameters the last does not fit: those before it were copied by then.
        last = list(state["paradigm"])[-1]
        state["paradigm"][last] = torch.zeros(7)
    half.write_bytes(
        {
            "bit": flipped(content, 8 * len(content) // 2),
            "page": content[:4096] + bytes(4096) + content[8192:],
            "cut": content[: len(content) // 2],
            "other networks": with_digest(saved(state)),
            "no state": with_digest(saved({"history": []})),
            "unread": with_digest(b"no archive"),
        }[damage]
    )
    ran, again, same = trained(half)
    assert ran == [0, 1]
    assert again == losses
    assert all(torch.equal(same[name], weights[name]) for name in weights)
    assert "cannot be used" in caplog.text
    assert "the training begins anew" in caplog.text
    assert str(half) in caplog.text


def test_a_folder_in_a_checkpoints_place_is_named_before_anything_is_trained(trained, tmp_path):
    place = tmp_path / "checkpoint.pt"
    place.mkdir()
    with pytest.raises(InputError, match=r"checkpoint\.pt: a folder, expected the checkpoint"):
        trained(place)
    assert place.is_dir()


def test_a_whole_checkpoint_is_gone_on_from_without_a_word(half, trained, caplog):
    ran, losses, _ = trained(half)
    assert ran == [1]
    assert losses == trained(None)[1]
    assert caplog.text == ""


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def with_digest(content):
    file = io.BytesIO()
    writer = DigestWriter(file)
    writer.write(content)
    writer.end()
    return file.getvalue()
