"""Odd YAML and CSV that people may write: read as they say, or refused in one line with exit 2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]

NINE = ",".join(["*x"] * 9)
BOMB = "\n".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]",
        *(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)),
    ]
)

STUDY_TEXTS: list[tuple[str | bytes, str]] = [
    ("", "expected keys such as study, data, backbones; got None"),
    ("#", "got None"),
    ("---", "got None"),
    ("--- a\n--- b", "not valid YAML"),
    ("just text", "got 'just text'"),
    ("- a", "got ['a']"),
    ("3.5", "got 3.5"),
    ("{", "not valid YAML: line 2, column 1"),
    ("a: [1", "not valid YAML: line 2, column 1"),
    ("a: b: c", "not valid YAML: line 1, column 5"),
    ("a:\n\t- b", "not valid YAML: line 2, column 1"),
    ("'", "not valid YAML"),
    ("%", "not valid YAML"),
    ("@", "not valid YAML"),
    ("*x", "not valid YAML"),
    ("a: &x [*x]", "the anchor 'x' contains itself"),
    ("a: &x {b: *x}", "the anchor 'x' contains itself"),
    (BOMB, "more than 100000 values, aliases counted"),
    ("a: " + "[" * 5000, "nested too deeply"),
    ("a: " + "{x: " * 5000, "nested too deeply"),
    ("a: " + "- " * 5000, "not valid YAML"),
    ("a: 2020-99-99\nb: 1", "unknown key 'a'"),
    ("a: !!timestamp x", "not valid YAML"),
    ("a: !!int x", "not valid YAML"),
    ("a: !!float x", "not valid YAML"),
    ("a: !!bool 3", "not valid YAML"),
    ("a: !!binary '%'", "not valid YAML"),
    ("a: !!set {b, c}", "not valid YAML"),
    ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ("a: " + "9" * 5000, "not valid YAML"),
    ("? [a, b]\n: c", "a key is a mapping or a list"),
    ("? {a: b}\n: c", "a key is a mapping or a list"),
    ("study: a\nstudy: b", "line 2, column 1: key 'study' is given twice"),
    ("<<: 3", "not valid YAML"),
    ('a: "\\e[2J"', "holds the control character U+001B"),
    ('a: "\\0"', "holds the control character U+0000"),
    ("a: \x07", "not valid YAML"),
    (b"a: \xff\xfe", "not a text in UTF-8"),
    ("a: b".encode("utf-16"), "not a text in UTF-8"),
    (b"\x00" * 100, "not valid YAML"),
    ("1: 2", "unknown key '1'"),
    ("null: 2", "unknown key 'None'"),
    ("x" * 1000 + ": 1", "unknown key 'xxx"),
    ("x" * 3000 + ": 1", "not valid YAML: line 1, column 3001"),
    ("a: " + "x" * 2**20, "expected at most 1048576"),
]

SETTINGS: list[tuple[str, str | None]] = [
    ("title=no", None),
    ("title=1:30", None),
    ("title=2020-01-01", None),
    ("training.learning_rate=1e-1", None),
    ("seeds=[0, 1, 2]", None),
    ("title=[", "--set title: '[': not valid YAML"),
    ("training.epochs=1:30", "training.epochs: expected a valid integer"),
    ("training.epochs=no", "training.epochs: expected a valid integer"),
    ("training.flip=no", None),
    ("training.flip=nein", "training.flip: expected a valid boolean"),
    ("training.epochs=1e400", "training.epochs"),
    (f"training.epochs={10**30}", "training: epochs: expected a number of at most"),
    (f"training.epochs={'9' * 5000}", "not valid YAML"),
    ("training.learning_rate=.nan", "training.learning_rate: expected a finite number"),
    ("training.learning_rate=.inf", "training.learning_rate: expected a finite number"),
    ("configurations.²=3", "expected an index below 4, got '²'"),
    ("configurations.٣=3", "expected an index below 4"),
    ("configurations.-1=3", "expected an index below 4"),
    ("configurations.99999999999999999999=3", "expected an index below 4"),
    (".=3", "unknown key ''"),
    (".".join("a" * 5000) + "=3", "more than 100 keys inside each other"),
    ("study=" + "x" * 300, "study: expected"),
    ("study=../x", "study: "),
    ("title=" + "x" * 501, "title: expected"),
    ("backbones.cnn.label=" + "x" * 121, "backbones.cnn.label: expected"),
    ('backbones.cnn.label="\\e[2J"', "holds the control character U+001B"),
    ('backbones.cnn.label="a\\nb"', "holds the control character U+000A"),
    ("backbones.cnn.label=' '", "nothing but spaces"),
    ('backbones.cnn.label="\\ud800"', "--set backbones.cnn.label"),
    ("backbones.vit.options.num_heads=0", "option 'num_heads': expected 1 or more, got 0"),
    ("backbones.vit.options.checkpoint_path=w.pth", "option 'checkpoint_path' cannot be given"),
    ("backbones.vit.options.depth=1000000", "option 'depth': expected at most 1000 blocks"),
    ("backbones.vit.weights=~nobody-of-this-name/w", "Could not determine home"),
    ("data={source: folder, root: " + "x" * 5000 + "}", "is too long"),
    ('data={source: folder, root: ""}', "a path is empty"),
    ("data={source: " + "x" * 5000 + "}", "data: "),
]

CLASSES: list[tuple[str | bytes, str | None]] = [
    ("classes: {1: smoke, 7: steam}", None),
    ("classes: {0x1: smoke, 0o7: steam}", None),
    ("", "no mapping of mask values to class names"),
    ("classes: {01: smoke, 07: steam}", None),
    ("classes: {1: smoke, 1: steam}", "key 1 is given twice"),
    ("classes: {1: smoke, 01: steam}", "key 1 is given twice"),
    ("classes: {1: no, 7: on}", "class 'smoke'"),
    ("classes: {1.0: smoke, 7: steam}", "mask value 1.0 of class 'smoke', expected a whole"),
    ("classes: {true: smoke, 7: steam}", "mask value True of class 'smoke', expected a whole"),
    ("classes: {1: 2020-99-99, 7: steam}", "class 'smoke'"),
    ("classes: {1: [smoke], 7: steam}", "class name ['smoke'] of mask value 1"),
    ('classes: {1: "s\\e[2J", 7: steam}', "holds the control character U+001B"),
    ('classes: {1: "smo\\nke", 7: steam}', "holds the control character U+000A"),
    (BOMB + "\nclasses: *a9", "more than 100000 values"),
    ("classes: &x {1: *x}", "the anchor 'x' contains itself"),
    (b"classes: {1: caf\xe9}", "not a text in UTF-8"),
]

LABELS: list[tuple[str | bytes, str | None]] = [
    ("file,classes\na.png,smoke\nb.png,\nc.png,steam\n", None),
    ("\ufefffile,classes\r\na.png,smoke\r\nb.png,\r\nc.png,steam", None),
    ("classes,file,note\nsmoke;steam,a.png,x\n,b.png,\nsteam,c.png,\n", None),
    ('file,classes\n"a.png","smoke; steam"\n\nb.png,;\nc.png,steam\n', None),
    ("", "columns []"),
    ("file;classes\na.png;smoke", "columns ['file;classes']"),
    ("file,classes,file\na.png,smoke,a.png", "a column is named twice"),
    ("file,classes\na.png,smoke,steam\nb.png,\nc.png,steam\n", "line 2: 3 fields, expected 2"),
    ("file,classes\na.png\nb.png,\nc.png,steam\n", "line 2: 1 fields, expected 2"),
    ('file,classes\na.png,"smoke,steam"\nb.png,\nc.png,steam\n', "expected ';' between classes"),
    ('file,classes\na.png,"smoke\nb.png,\nc.png,steam\n', "line 4: unexpected end of data"),
    ('file,classes\na.png,"smoke"x\n', "line 2: "),
    ("file,classes\na.png,smo\x00ke\n", "line 2: "),
    ("file,classes\na.png,sm\x1b[2Joke\n", "holds the control character U+001B"),
    ("file,classes\na.png," + "x" * 200_000 + "\n", "line 2: field larger than field limit"),
    (b"file,classes\na.png,caf\xe9\n", "not a text in UTF-8"),
]

GROUPS: list[tuple[str | bytes, str | None]] = [
    ("file,group\ntune/images/x.png,f1\n", None),
    ("file,group\ntune\\images\\x.png,f1\n", None),
    ("file,group\ntune/images/x.png\n", "line 2: 1 fields, expected 2"),
    ("file,group\ntune/images/x.png,f1,f2\n", "line 2: 3 fields, expected 2"),
    ("file,group\ntune/images/x.png,\n", "and group '', expected a path such as"),
    ("file,group\ntune/images/x.png,f1\ntune/images/x.png,f2\n", "has two groups"),
    ("file,group\n/etc/passwd,f1\n", "expected a path such as test/images/a.jpg"),
    ("file,group\ntune/../x.png,f1\n", "is no image of"),
    ("file,group\ntune/images/x.png,\x07\n", "holds the control character U+0007"),
]


def test_these_are_at_least_a_hundred() -> None:
    assert sum(map(len, (STUDY_TEXTS, SETTINGS, CLASSES, LABELS, GROUPS))) >= 100


def check(ended: Any, said: str | None) -> None:
    """Check exit code and message: nothing but one line, unless the input is accepted."""
    if said is None:
        assert (ended.code, ended.err) == (0, "")
        return
    assert ended.code == 2
    assert ended.err.startswith("wsss: ")
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 1000
    assert said in ended.err


def _ids(cases: list[Any]) -> list[str]:
    return [repr(text)[:30] for text, _ in cases]


@pytest.mark.parametrize(("text", "said"), STUDY_TEXTS, ids=_ids(STUDY_TEXTS))
def test_a_study_file(wsss: Command, tmp_path: Path, text: str | bytes, said: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    check(wsss("plan", file), said)


@pytest.mark.parametrize(("change", "said"), SETTINGS, ids=_ids(SETTINGS))
def test_a_change_of_a_study(
    wsss: Command, tiny: Any, write_study: Any, tmp_path: Path, change: str, said: str | None
) -> None:
    check(wsss("plan", write_study(tiny), "--set", change, "--results", tmp_path / "r"), said)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder of three training images with labels.csv, and an image to tune and to test."""
    root = tmp_path / "data"
    for name in ("a.png", "b.png", "c.png"):
        _save(root / "train" / "images" / name, np.zeros((4, 4, 3), np.uint8))
    for split in ("tune", "test"):
        _save(root / split / "images" / "x.png", np.zeros((4, 4, 3), np.uint8))
        _save(root / split / "masks" / "x.png", np.array([[0, 1, 7, 255]] * 4, np.uint8))
    (root / "classes.yaml").write_text("classes: {1: smoke, 7: steam}\n")
    (root / "train" / "labels.csv").write_text(str(LABELS[0][0]))
    return root


def _save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        pytest.param(name, *case, id=f"{name} {case[0][:20]!r}")
        for name, cases in (
            ("classes.yaml", CLASSES),
            ("train/labels.csv", LABELS),
            ("groups.csv", GROUPS),
        )
        for case in cases
    ],
)
def test_a_file_of_a_data_folder(
    wsss: Command, folder: Path, name: str, text: str | bytes, said: str | None
) -> None:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    check(wsss("data", "check", folder), said)


@pytest.mark.parametrize(
    ("kind", "said"), [("image", "is not UTF-8"), ("class", "is not UTF-8"), ("bell", "U+0007")]
)
def test_a_name_that_tables_cannot_hold_is_refused_when_the_folder_is_listed(
    wsss: Command, smoke_folder: Path, folder_study: Any, write_study: Any, kind: str, said: str
) -> None:
    train = smoke_folder / "train"
    if kind == "image":
        (train / "smoke" / "a.png").rename(
            train / "smoke" / b"caf\xe9.png".decode("utf-8", "surrogateescape")
        )
    elif kind == "class":
        (train / "smoke").rename(train / b"caf\xe9".decode("utf-8", "surrogateescape"))
    else:
        (train / "smoke").rename(train / "smo\x07ke")
    check(wsss("plan", write_study(folder_study)), said)
