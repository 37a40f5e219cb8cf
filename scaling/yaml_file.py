"""A YAML file of fields, read so that nothing in it is dropped or taken for something else.

PyYAML keeps the last of two equal keys and reads YAML 1.1: `no` is false, 010 is 8, 1:30 is 90, 2024-05-01 a date and
1e-3 text. Here a key that stands twice is refused, and plain words are numbers, true, false, null or text, as in YAML
1.2. Anchors, aliases and merge keys (`<<: *base`) work; what is written beside a merge key comes before what it brings.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from scaling.errors import StudyError

MERGE = "tag:yaml.org,2002:merge"
MOST_NODES = 100_000  # that aliases may unfold to: a study has hundreds


class _Loader(yaml.SafeLoader):
    """Plain words as YAML 1.2 has them, underscores in numbers aside."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)|[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _starts = [("" if first == "\0" else first) for first in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _starts)


def read_fields(path: str | Path, what: str, example: str = "") -> dict[str, Any]:
    """The fields of a file.

    Args:
        what: how messages call it, such as 'study file'. example: a file to learn from.

    Raises:
        StudyError: the file cannot be read, is not UTF-8 or not YAML, or holds no fields, or one of them twice.
    """
    name = f"{what} '{path}'"
    try:
        content = _construct(_text(path, name), name)
    except yaml.YAMLError as error:
        raise StudyError(f"{name} is not YAML: {_problem(error)}") from error
    except RecursionError as error:
        raise StudyError(f"{name} is nested too deeply; write it with fewer levels") from error
    if not isinstance(content, dict) or not content:
        see = example and f"; see {example} for an example"
        raise StudyError(f"{name} holds no fields ({_kind(content)}); write one `name: value` a line{see}")
    return content


def _text(path: str | Path, name: str) -> str:
    """Its text; a byte-order mark, as some editors write it, is no part of it."""
    try:
        return Path(path).expanduser().read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise StudyError(
            f"{name} cannot be read: line {line} is not UTF-8 (byte 0x{error.object[error.start]:02x}); save it as that"
        ) from error
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise StudyError(f"{name} cannot be read ({reason}); give the path of a YAML file") from error


def _construct(text: str, name: str) -> Any:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, name)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check(root: yaml.Node, name: str) -> None:
    """Refuse keys that stand twice, and aliases of what they stand in, or that unfold without end."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, path: str, above: frozenset[int]) -> int:
        """The number of nodes that it unfolds to, counted once where it is shared."""
        if id(node) in above:
            raise StudyError(f"{name}, line {_line(node)}: {path} holds itself by its alias; write it out")
        if id(node) not in sizes:
            _check_keys(node, path, name)
            inside = above | {id(node)}
            sizes[id(node)] = 1 + sum(size(part, where, inside) for part, where in _parts(node, path))
        if sizes[id(node)] > MOST_NODES:
            raise StudyError(f"{name}, line {_line(node)}: its aliases unfold to more than {MOST_NODES:,} entries")
        return sizes[id(node)]

    size(root, "", frozenset())


def _parts(node: yaml.Node, path: str) -> list[tuple[yaml.Node, str]]:
    if isinstance(node, yaml.SequenceNode):
        return [(part, f"{path}[{i}]") for i, part in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return [(value, f"{path}.{key.value}".lstrip(".")) for key, value in node.value]
    return []


def _check_keys(node: yaml.Node, path: str, name: str) -> None:
    """Every key of a mapping is a word of text, and stands there once."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[Hashable, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise StudyError(f"{name}, line {_line(key)}: a list or mapping is no field's name; write `field: value`")
        field = f"{path}.{key.value}".lstrip(".")
        if key.tag not in ("tag:yaml.org,2002:str", MERGE):
            raise StudyError(f"{name}, line {_line(key)}: '{field}' is no field's name; names are text: quote it")
        if key.value in seen:
            raise StudyError(
                f"{name}, line {_line(key)}: '{field}' stands there twice, first in line {seen[key.value]}; keep one"
            )
        seen[key.value] = _line(key)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _problem(error: yaml.YAMLError) -> str:
    """One line of what PyYAML says, with what it means where that is known."""
    mark = getattr(error, "problem_mark", None)
    text = " ".join(str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split())
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    if "'\\t'" in text:
        return f"{where}a tab where YAML takes spaces alone; indent with spaces"
    if "expected a single document" in str(error):
        return f"{where}a second document begins with ---; keep one a file"
    if "undefined alias" in text:
        return f"{where}{text}; write &NAME at what it stands for, above it"
    if "constructor for the tag" in text:
        return f"{where}a tag such as !!python is not read; write plain values"
    if "special characters" in text or "unacceptable character" in text:
        return "it holds control characters; save it as plain text"
    return f"{where}{text}"


def _kind(content: Any) -> str:
    kinds = {dict: "an empty mapping", list: "a list", str: "text", type(None): "it is empty"}
    return kinds.get(type(content), f"the value {content!r}")
