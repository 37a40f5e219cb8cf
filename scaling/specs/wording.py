"""What is wrong with a value, in a study file's words instead of pydantic's."""

from __future__ import annotations

import re
from typing import Any

from scaling.errors import nearest
from scaling.place import scrub

SCALARS = (bool, int, float, str)
SHOWN = 200  # characters of a value in a message
LIST, PAIRS, TEXT = "Input should be a list", "Input should be `name: value` pairs", "Input should be text"
KINDS = {
    "tuple_type": LIST, "list_type": LIST, "dict_type": PAIRS, "model_type": PAIRS, "model_attributes_type": PAIRS,
    "string_type": TEXT, "int_from_float": "Input should be a whole number",
    "int_parsing_size": "Input should be a smaller number",
}  # fmt: skip


def said(detail: Any) -> str:
    """The limit that a value breaks; `detail` is one of a ValidationError's errors()."""
    kind, value = detail["type"], detail["input"]
    if kind in KINDS:
        return KINDS[kind] + _written(KINDS[kind], value)
    if kind == "too_short":
        return f"Input should hold at least {detail['ctx']['min_length']}"
    if kind == "too_long":
        return f"Input should hold at most {detail['ctx']['max_length']}"
    if kind == "literal_error":
        return detail["msg"] + _near(str(value), detail["ctx"]["expected"])
    message = str(detail["msg"]).removeprefix("Value error, ")
    return message.partition(", unable to ")[0] if kind.endswith("_parsing") else message


def shown_value(value: Any) -> str:
    """A value as messages show it; a long one is cut."""
    text = scrub(repr(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def _written(limit: str, value: Any) -> str:
    """How a single value is written where a list or text belongs."""
    if not isinstance(value, SCALARS):
        return ""
    if limit == LIST:
        return f": write [{_plain(value)}]"
    return f": write '{_plain(value)}'" if limit == TEXT else ""


def _plain(value: Any) -> str:
    return shown_value(value).lower() if isinstance(value, bool) else shown_value(value).strip("'")


def _near(value: str, expected: str) -> str:
    hint = nearest(value, re.findall(r"'([^']*)'", expected))
    return f"; did you mean '{hint}'?" if hint else ""
