"""The `data` section of published sets: keys mean what the options of `wsss data import` mean."""

from pathlib import Path
from typing import Any

import pytest

from studies.cli.main import main
from studies.spec.loading import load_study
from studies.spec.published import PublishedData
from wsss_core.data.importing import ImportSettings
from wsss_core.errors import InputError


@pytest.fixture
def of_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the settings that `wsss data import` makes of its options."""
    caught: list[ImportSettings] = []

    def catch(settings: ImportSettings) -> None:
        caught.append(settings)
        raise InputError("caught")

    monkeypatch.setattr("wsss_core.data.importing.import_data", catch)

    def settings(*arguments: str) -> ImportSettings:
        options = [text for text in arguments if text.startswith("--")]
        sources = [text for text in arguments if text not in options]
        assert main(["data", "import", *options, *sources, str(tmp_path / "DEST")]) == 2
        return caught.pop()

    return settings


def of_keys(**keys: Any) -> ImportSettings:
    return PublishedData(**keys).import_settings()


SPELLINGS: list[tuple[dict[str, Any], list[str]]] = [
    ({"source": "smoke5k", "root": "S", "tune": 100}, ["S", "--format=smoke5k", "--tune=100"]),
    ({"source": "published", "root": ["S"], "tune": "test:0.1"}, ["S", "--tune=test:0.1"]),
    ({"source": "published", "root": "here=S", "tune": 0.1}, ["here=S", "--tune=0.1"]),
    (
        {"source": "published", "root": "C", "values": {0: "sky", 11: "ignore"}},
        ["C", "--values=0=sky,11=ignore"],
    ),
    (
        {"source": "published", "root": "C", "values": "0=sky,11=ignore", "threshold": 9},
        ["C", "--values=0=sky,11=ignore", "--threshold=9"],
    ),
    (
        {
            "source": "published",
            "root": "C",
            "classes": {"smoke": ["high", "low"], "steam": "steam"},
        },
        ["C", "--classes=smoke=high|low,steam"],
    ),
    (
        {"source": "published", "root": "C", "classes": ["smoke", "steam"]},
        ["C", "--classes=smoke,steam"],
    ),
    (
        {"source": "coco", "root": "C", "classes": "smoke=high|low,steam", "crowd": "ignore"},
        ["C", "--format=coco", "--classes=smoke=high|low,steam", "--crowd=ignore"],
    ),
    (
        {"source": "coco", "root": "C", "boxes": "object", "least_area": 50, "labels": "masks"},
        ["C", "--format=coco", "--boxes=object", "--least-area=50", "--labels=masks"],
    ),
    (
        {"source": "pairs", "root": "P", "images": "{stem}.png", "masks": "m/{stem}.png"},
        ["P", "--format=pairs", "--images={stem}.png", "--masks=m/{stem}.png"],
    ),
    (
        {"source": "pairs", "root": "P", "colours": "c.txt", "labels": "l.csv", "clear": "Free"},
        ["P", "--format=pairs", "--colours=c.txt", "--labels=l.csv", "--clear=Free"],
    ),
    (
        {"source": "published", "root": "P", "split": {"train": 0.7, "tune": 0.1, "test": 0.2}},
        ["P", "--split=train=0.7,tune=0.1,test=0.2"],
    ),
    (
        {"source": "published", "root": "P", "split": {"test": ["val", "val2"]}},
        ["P", "--split=test=val+val2"],
    ),
    (
        {"source": "published", "root": "P", "split": ["test=val", "train=train"]},
        ["P", "--split=test=val", "--split=train=train"],
    ),
    (
        {
            "source": "rise",
            "root": "R",
            "frames": 3,
            "scheme": "split_0",
            "group_by": "camera",
            "drop_twins": True,
            "assume_absent": True,
            "orientation": "ignore",
            "seed": 4,
        },
        [
            *("R", "--format=rise", "--frames=3", "--scheme=split_0", "--group-by=camera"),
            *("--drop-twins", "--assume-absent", "--orientation=ignore", "--seed=4"),
        ],
    ),
    (
        {
            "source": "published",
            "frames": 4,
            "tune": "test:100",
            "root": [
                {"path": "IJMOND", "crops": "thesis"},
                {"path": "SMOKE5K", "take": {"smoke": 19}},
                {"path": "R", "name": "RISE", "take": {"clear": 107}, "format": "rise"},
            ],
        },
        [
            *("IJMOND", "SMOKE5K", "RISE=R", "--crops=A:thesis", "--frames=4", "--format=C:rise"),
            *("--take=B=smoke:19", "--take=C=clear:107", "--tune=test:100"),
        ],
    ),
    (
        {"source": "smoke5k", "root": ["x/S", "y/S"]},
        ["x/S", "y/S", "--format=smoke5k"],
    ),
]


@pytest.mark.parametrize(("keys", "options"), SPELLINGS, ids=lambda given: str(given)[:40])
def test_keys_mean_what_the_options_of_the_import_mean(
    of_options: Any, tmp_path: Path, keys: dict[str, Any], options: list[str]
) -> None:
    by_options, by_keys = of_options(*options), of_keys(**keys)
    assert by_keys.sources == by_options.sources
    for name in ("split", "group_by", "least_area", "orientation", "assume_absent", "seed"):
        assert getattr(by_keys, name) == getattr(by_options, name)
    assert by_keys.drop_twins == by_options.drop_twins


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "smoke5k"}, "data.root: missing"),
        ({"source": "smoke5", "root": "S"}, "data: source 'smoke5', expected scenes, .*nearest: "),
        ({"source": "coco", "root": "S", "lnik": True}, "data: unknown key 'lnik'; nearest"),
        ({"source": "coco", "root": []}, "data.root: expected at least one item, got none"),
        ({"source": "coco", "root": "S", "threshold": 0}, "data.threshold: expected greater"),
        ({"source": "coco", "root": "S", "values": {"a": "b"}}, "data.values.a.*: expected"),
        ({"source": "coco", "root": "S", "values": "11"}, "data.values: values '11', expected"),
        ({"source": "coco", "root": "S", "split": {"trian": 1}}, "data: split 'trian=1', expected"),
        ({"source": "coco", "root": "S", "tune": "half"}, "data: tune 'half', expected a number"),
        ({"source": "coco", "root": "S", "crops": "all"}, "data.crops: expected 'none' or 'thesis"),
        (
            {"source": "published", "root": [{"path": "S", "format": "cocoa"}]},
            r"data.root\[0\].format: format 'cocoa', expected one of .*nearest: 'coco'",
        ),
        (
            {"source": "coco", "root": [{"path": "S", "format": "rise"}]},
            "data: root: 'S' has a format of its own, expected source: published",
        ),
        (
            {"source": "published", "root": [{"path": "S", "take": {"smoke": 0}}]},
            r"data.root\[0\].take.smoke: expected greater than or equal to 1, got 0",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(
    tiny: dict[str, Any], data: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_study({**tiny, "data": data})
    assert "\n" not in str(caught.value)


def test_changes_of_the_command_line_reach_every_key(tiny: dict[str, Any]) -> None:
    raw = {**tiny, "data": {"source": "smoke5k", "root": "S"}}
    study = load_study(raw, ["data.root=T", "data.tune=0.2", "data.size=32"])
    settings = study.data.import_settings()
    assert (settings.sources[0].path.name, settings.split.tune, study.data.size) == ("T", 0.2, 32)
