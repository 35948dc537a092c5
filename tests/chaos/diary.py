"""The backbones of the chaos run's study. Importing them makes every training keep a diary.

This file is copied beside each study file: a worker finds it as any plug-in, and writes what it
trains to `diary.jsonl` beside it, a line each:

    began      an epoch of a training is begun
    kept       it is over, and its checkpoint is written
    trained    the training is over; the artifact is still to be written
    hangs      nothing follows: it found the file `hang`, deleted it and sleeps for ever
"""

import functools
import json
import os
import time
from pathlib import Path
from typing import Any

import studies.stages.training
from wsss_core.backbones import Network, build_network

VERSION = 1
DIARY = Path(__file__).with_name("diary.jsonl")
HANG = Path(__file__).with_name("hang")


def cnn(classes: int, image_size: int) -> Network:
    return build_network(
        "resnet18",
        classes=classes,
        image_size=image_size,
        output_stride=8,
        options={"channels": [4, 8, 16, 32]},
    )


def vit(classes: int, image_size: int) -> Network:
    return build_network(
        "vit_tiny_patch16_224",
        classes=classes,
        image_size=image_size,
        options={"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3},
    )


def _note(key: str, what: str, epoch: int) -> None:
    line = {"key": key, "what": what, "epoch": epoch, "pid": os.getpid(), "time": time.time()}
    opened = os.open(DIARY, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(opened, (json.dumps(line) + "\n").encode())  # one write: lines do not mix
    finally:
        os.close(opened)


def _hang_if_asked(key: str) -> None:
    try:
        HANG.unlink()  # one process can
    except FileNotFoundError:
        return
    _note(key, "hangs", -1)
    while True:
        time.sleep(3600)


def _with_diary(train: Any) -> Any:
    @functools.wraps(train)
    def training(paradigm: Any, *args: Any, **options: Any) -> Any:
        key = options["checkpoint"].parent.name.removeprefix("train-")
        to_training, told = paradigm.train, options.pop("on_epoch", None)

        def epoch_begins(mode: bool = True) -> Any:
            if mode:
                _note(key, "began", -1)
                _hang_if_asked(key)
            return to_training(mode)

        def epoch_kept(record: Any) -> None:
            _note(key, "kept", record.epoch)
            if told is not None:
                told(record)

        paradigm.train = epoch_begins
        history = train(paradigm, *args, on_epoch=epoch_kept, **options)
        _note(key, "trained", len(history))
        return history

    training.keeps_diary = True  # type: ignore[attr-defined]
    return training


if not hasattr(studies.stages.training.train, "keeps_diary"):
    studies.stages.training.train = _with_diary(studies.stages.training.train)
