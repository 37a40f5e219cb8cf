"""Places as text: names go before the query, and no message shows what is secret."""

from __future__ import annotations

import pytest

from scaling.errors import StudyError
from scaling.place import Place, is_uri, scrub, shown

QUERY = "endpoint_override=http%3A%2F%2F127.0.0.1%3A5000&scheme=http"


@pytest.mark.parametrize(
    ("text", "child"),
    [
        (f"s3://bucket/x?{QUERY}", f"s3://bucket/x/a%20b/c?{QUERY}"),
        (f"s3://bucket/x/?{QUERY}", f"s3://bucket/x/a%20b/c?{QUERY}"),
        (f"s3://bucket?{QUERY}", f"s3://bucket/a%20b/c?{QUERY}"),
        ("file:///", "file:///a%20b/c"),
        ("/x/50%", "file:///x/50%25/a%20b/c"),
        ("/x/what?", "file:///x/what%3F/a%20b/c"),
    ],
)
def test_names_are_appended_before_the_query(text, child):
    assert Place.of(text).child("a b", "c").uri == child


@pytest.mark.parametrize(
    ("text", "parent", "name"),
    [
        (f"s3://bucket/x/epoch-1.safetensors?{QUERY}", f"s3://bucket/x?{QUERY}", "epoch-1.safetensors"),
        ("s3://bucket/file", "s3://bucket", "file"),
        ("file:///file", "file:///", "file"),
        ("/a b/what?.safetensors", "file:///a%20b", "what?.safetensors"),
    ],
)
def test_a_file_is_its_folder_and_its_name(text, parent, name):
    place = Place.of(text)
    assert (place.parent.uri, place.name) == (parent, name)
    assert place.parent.child(name) == place


def test_a_bucket_is_no_file():
    with pytest.raises(StudyError, match=r"'s3://bucket' names no file"):
        Place.of("s3://bucket").parent  # noqa: B018


def test_a_path_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert Place.of("results").shown == f"{tmp_path}/results"
    assert Place.of("~/results").shown == "/home/me/results"
    assert [is_uri("results"), is_uri("s3://b"), shown("results"), shown("s3://k:s@b")] == [
        False, True, "results", "s3://***@b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://KEY:s3c%2Fret@bucket/x?region=eu-west-1", "s3://***@bucket/x?region=eu-west-1"),
        ("s3://KEY:s3c/ret@bucket/x", "s3://***@bucket/x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("hdfs://host:8020/a@b?user=me", "hdfs://host:8020/a@b?user=***"),
        (
            "abfs://box@account/x?sig=s3c%2Fret&client_secret=s3c%2Fret",
            "abfs://***@account/x?sig=***&client_secret=***",
        ),
        ("s3://b/x?endpoint_override=http://me:s3c%2Fret@host:1", "s3://b/x?endpoint_override=***"),
    ],
)
def test_what_is_shown_has_no_secret(uri, expected):
    place = Place.of(uri)
    assert place.shown == expected
    said = place.hide(f"cannot parse {uri}: bad key s3c/ret or s3c%2Fret")
    if "s3c" in uri:
        assert "s3c" not in said, said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("no answer at http://me:s3cret@host:1/x (404)", "no answer at http://***@host:1/x (404)"),
        ("'postgresql://me:s3c/ret@host/db' and s3://K:s3cret@b", "'postgresql://***@host/db' and s3://***@b"),
        ("http://me:s3c@ret@host/x", "http://***@host/x"),
        ("postgresql://h/db?user=me&password=s3cret&x=1", "postgresql://h/db?user=me&password=***&x=1"),
        ('{"path": "s3://b/x?sig=s3cret"}', '{"path": "s3://b/x?sig=***"}'),
        ("http://host:8020/a@b and me@host, s3://bucket/a@b", "http://host:8020/a@b and me@host, s3://bucket/a@b"),
        ("nothing: here?", "nothing: here?"),
    ],
)
def test_free_text_has_no_secret(said, expected):
    assert scrub(said) == expected
