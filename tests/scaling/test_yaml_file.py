"""YAML files: what is written twice or read as something else is refused, or read as it is written."""

from __future__ import annotations

import math

import pytest

from scaling.errors import StudyError
from scaling.yaml_file import read_fields

LAUGHS = "\n".join(["a0: &a0 [1]", *(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(9))])
REFUSED = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", ["line 3: 'a' stands there twice, first in line 1"]),
    "in a mapping": ("a:\n  b: 1\n  c: 2\n  b: 1\n", ["line 4: 'a.b'", "first in line 2"]),
    "in a list": ("a: [{b: 1}, {b: 1, 'b': 2}]", ["line 1: 'a[1].b'"]),
    "in an anchor": ("a: &x\n  b: 1\n  b: 2\nc: *x\n", ["line 3: 'a.b'"]),
    "two merge keys": ("a: &x {b: 1}\nc: {<<: *x, <<: *x}", ["line 2: 'c.<<'"]),
    "no text as key": ("1: a", ["line 1: '1' is no field's name"]),
    "a list as key": ("? [a]\n: b", ["line 1: a list or mapping is no field's name"]),
    "a tab": ("a:\n\tb: 1", ["line 2, column 1: a tab", "indent with spaces"]),
    "two documents": ("a: 1\n---\nb: 1", ["line 2", "a second document"]),
    "a tag": ("a: !!python/object/apply:os.getcwd []", ["line 1", "a tag such as !!python is not read"]),
    "no such anchor": ("a: *x", ["undefined alias 'x'", "write &NAME"]),
    "itself": ("a: &x [*x]", ["holds itself by its alias"]),
    "a bomb": (LAUGHS, ["aliases unfold to more than 100,000"]),
    "deep": ("[" * 4000, ["nested too deeply"]),
    "not closed": ("a: [1,\nb", ["is not YAML: line 2"]),
    "control characters": ("a: \x01", ["control characters"]),
    "nothing": ("# a: 1\n", ["holds no fields (it is empty)"]),
    "a list of fields": ("- a: 1", ["holds no fields (a list)", "`name: value`"]),
    "text": ("a", ["holds no fields (text)"]),
    "no field": ("{}", ["holds no fields (an empty mapping)"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_misread_is_refused_by_its_place(tmp_path, case):
    text, words = REFUSED[case]
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as raised:
        read_fields(path, "study file")
    message = str(raised.value)
    assert [word for word in [f"study file '{path}'", *words] if word not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize("coded", ["a: ü".encode("latin-1"), "a: 1".encode("utf-16"), b"a: 1\nb: \xff"])
def test_only_utf8_is_read(tmp_path, coded):
    path = tmp_path / "x.yaml"
    path.write_bytes(coded)
    with pytest.raises(StudyError, match=r"cannot be read: line \d is not UTF-8 \(byte 0xf[cf]\)"):
        read_fields(path, "study file")


@pytest.mark.parametrize("name", ["absent.yaml", ".", "a\0b"])
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(StudyError, match=r"cannot be read .*give the path of a YAML file"):
        read_fields(f"{tmp_path}/{name}", "study file")


def test_anchors_and_merge_keys_work_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    path = tmp_path / "x.yaml"
    path.write_bytes("\ufeffa: &base {b: 1, c: ü}\nd: {<<: *base, b: 2}\ne: [*base]\n".encode())
    base = {"b": 1, "c": "ü"}
    assert read_fields(path, "study file") == {"a": base, "d": {"b": 2, "c": "ü"}, "e": [base]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("true", True), ("False", False), ("~", None), ("", None), ("null", None),
        ("7", 7), ("-7", -7), ("+7", 7), ("1_000", 1000), ("010", "010"), ("0x1f", 31), ("1:30", "1:30"),
        ("1e-3", 1e-3), ("1E3", 1e3), ("1.5e+3", 1500.0), (".5", 0.5), ("5.", 5.0), ("-.inf", -math.inf),
        ("2024-05-01", "2024-05-01"), ("1.2.3", "1.2.3"), (".", "."), ("'7'", "7"), ("<", "<"),
    ],
)  # fmt: skip
def test_plain_words_are_what_they_look_like(tmp_path, text, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"a: {text}\n")
    found = read_fields(path, "study file")["a"]
    assert (found, type(found)) == (value, type(value))
