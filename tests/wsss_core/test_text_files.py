"""What people write is read as it says, or refused in one line that names the place."""

import os

import pytest
import yaml

from wsss_core import plain_yaml
from wsss_core.errors import InputError
from wsss_core.text_files import parse_yaml, read_csv, read_text, read_yaml

MEANINGS = [
    ("no", "no"),
    ("on", "on"),
    ("true", True),
    ("~", None),
    ("", None),
    ("2020-01-01", "2020-01-01"),
    ("2020-99-99", "2020-99-99"),
    ("1:30", "1:30"),
    ("1e-1", 0.1),
    ("5E3", 5000.0),
    (".5", 0.5),
    ("-.inf", float("-inf")),
    ("017", 17),
    ("08", 8),
    ("0o17", 15),
    ("0x1F", 31),
    ("1_000", 1000),
    ("=", "="),
    ("'1'", "1"),
    ("!!str 12", "12"),
    ("&x 3", 3),
]


@pytest.mark.parametrize(("text", "value"), MEANINGS, ids=[text or "empty" for text, _ in MEANINGS])
def test_a_plain_value_means_what_it_says(text, value):
    found = parse_yaml(f"a: {text}", "f.yaml")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_an_anchor_and_a_merge_key_work():
    text = "base: &base {seeds: [0, 1], epochs: 3}\nmine: {<<: *base, epochs: 5}\nsame: *base"
    found = parse_yaml(text, "f.yaml")
    assert found["mine"] == {"seeds": [0, 1], "epochs": 5}
    assert found["same"] == found["base"]


def _levels(line: str) -> str:
    """Ten lines, each with nine aliases of the line before."""
    lines = ["a0: &a0 {p: 1}"]
    lines += [f"a{i}: &a{i} " + line.format(",".join([f"*a{i - 1}"] * 9)) for i in range(1, 10)]
    return "\n".join(lines)


REFUSED = [
    ("a: 1\na: 2", "line 2, column 1: key 'a' is given twice"),
    ("a: &x [*x]", "line 1, column 8: the anchor 'x' contains itself"),
    ("a: &x {b: [*x]}", "contains itself"),
    ("a: *x", "undefined alias"),
    (_levels("[{}]"), "more than 100000 values, aliases counted"),
    (_levels("{{<<: [{}]}}"), "more than 100000 values, aliases counted"),
    ("a: " + "[" * 2000 + "]" * 2000, "nested too deeply"),
    ("a: " + "{b: " * 200 + "}" * 200, "nested too deeply"),
    ("a: " + "9" * 5000, "limit"),
    ("a: !!int x", "invalid literal"),
    ("a: !!float x", "could not convert"),
    ("a: !!bool x", "x"),
    ("a: !!timestamp 2020-01-01", "could not determine a constructor"),
    ("a: !!binary aGk=", "could not determine a constructor"),
    ("a: !!python/name:os.getcwd x", "could not determine a constructor"),
    ("a: !mine x", "could not determine a constructor"),
    ("a: !!map [1]", ""),
    ("? [1]\n: 2", "a key is a mapping or a list"),
    ("- a\nb: c", "line 2"),
    ("a: 'x", "end of stream"),
    ("a: 1\n---\nb: 2", "another document"),
    ('a: "\\e[31m"', "holds the control character U+001B"),
    ('"\\0": 1', "holds the control character U+0000"),
    ('a: "\\ud800"', "line 1"),
    ("a: \x07", "characters are not allowed"),
    ("<<: 3", "line 1"),
]


@pytest.mark.parametrize("loader", ["as installed", "without libyaml"])
@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[text[:16] for text, _ in REFUSED])
def test_what_is_no_yaml_of_ours_is_one_line(text, said, loader, monkeypatch):
    if loader == "without libyaml":
        monkeypatch.setattr(plain_yaml, "_BASE", yaml.SafeLoader)
    with pytest.raises(InputError) as refused:
        parse_yaml(text, "f.yaml")
    assert str(refused.value).startswith("f.yaml: not valid YAML: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_file_is_read_with_its_byte_order_mark(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\n")
    assert read_yaml(file) == {"a": "é"}


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    file = tmp_path / "f.yaml"
    with pytest.raises(InputError, match=r"f\.yaml: cannot be read: No such file"):
        read_yaml(file)
    file.write_bytes(b"a: \xff")
    with pytest.raises(InputError, match=r"f\.yaml: not a text in UTF-8"):
        read_yaml(file)
    file.write_text("a: " + "x" * 2**20)
    with pytest.raises(InputError, match=r"f\.yaml: 1048579 bytes, expected at most 1048576"):
        read_yaml(file)
    with pytest.raises(InputError, match="expected a regular file"):
        read_yaml(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "f.csv")
    with pytest.raises(InputError, match="expected a regular file"):
        read_text(tmp_path / "f.csv")


def test_rows_come_with_their_lines(tmp_path):
    file = tmp_path / "f.csv"
    file.write_text('file,classes,note\na.jpg,smoke,\n\n"b,c.jpg",smoke;steam,"two\nlines"\n')
    assert list(read_csv(file, ["file", "classes"])) == [
        (2, {"file": "a.jpg", "classes": "smoke", "note": ""}),
        (5, {"file": "b,c.jpg", "classes": "smoke;steam", "note": "two\nlines"}),
    ]


def test_a_first_column_without_a_name_numbers_the_rows(tmp_path):
    file = tmp_path / "f.csv"
    file.write_text(",file,classes\n0,a.jpg,smoke\n1,b.jpg,\n")
    rows = [row for _, row in read_csv(file, ["file", "classes"])]
    assert [(row["file"], row["classes"]) for row in rows] == [("a.jpg", "smoke"), ("b.jpg", "")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,classes\na.jpg,smoke,steam\n", "line 2: 3 fields, expected 2 (file,classes)"),
        ("file,classes,\nb.jpg,x,\na.jpg,x,steam\n", "line 3: 'steam' stands in a column without"),
        ("file,classes, \na.jpg,x,steam\n", "line 2: 'steam' stands in a column without a name"),
        ("file,classes\na.jpg,x\nb.jpg\n", "line 3: 1 fields, expected 2 (file,classes)"),
        ("file;classes\na.jpg;x\n", "columns ['file;classes'], expected CSV with columns file"),
        ("file,classes,file\n", "a column is named twice"),
        ("", "columns [], expected CSV with columns file, classes"),
        ('file,classes\n"a.jpg,x\n', "unexpected end of data"),
        ('file,classes\n"a"b,x\n', "line 2: ',' expected after '\"'"),
        ("file,classes\na.jpg,\x1b[31m\n", "line 2: '\\x1b[31m' holds the control character"),
        ("file,classes\na.jpg,\x00\n", "line 2"),
        ("file,classes\n" + "x" * 200_000 + ",y\n", "field larger than field limit"),
    ],
)
def test_a_row_that_does_not_fit_is_one_line(text, said, tmp_path):
    file = tmp_path / "f.csv"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        list(read_csv(file, ["file", "classes"]))
    assert said in str(refused.value)
    assert str(refused.value).startswith(str(file))
    assert len(str(refused.value)) < 300 + len(str(file))
