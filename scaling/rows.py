"""Records as rows of Arrow tables: typed alike in every file, and read whatever version of this package wrote them."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from scaling.errors import DamagedFile

RecordT = typing.TypeVar("RecordT", bound="Record")


class Record(BaseModel):
    """One row: frozen, typed, with the same Parquet columns in every file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def schema_arrow(cls) -> pa.Schema:
        return _schema(cls)


class OtherVersion(ValueError):
    """What tells a file from one of this version."""


def table_of(kind: type[Record], records: Sequence[Record]) -> pa.Table:
    return pa.Table.from_pylist([record.model_dump() for record in records], schema=kind.schema_arrow())


def records_of(kind: type[RecordT], table: pa.Table) -> list[RecordT]:
    return [kind.model_validate(row) for row in table.to_pylist()]


def parse_table(content: bytes, kind: type[Record]) -> pa.Table:
    """The rows of a Parquet file, with all columns that they have today.

    Raises:
        DamagedFile: it is no whole Parquet file, or has no row. OtherVersion: it lacks a column that has no default, or
            holds a value that this version does not know.
    """
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedFile(f"no whole Parquet file: {' '.join(str(error).split())}") from error
    if not table.num_rows:
        raise DamagedFile("it holds no row")
    schema = kind.schema_arrow()
    for name in schema.names:
        if name not in table.column_names and kind.model_fields[name].is_required():
            raise OtherVersion(f"lacks the column '{name}'")
    return pa.table([_column(table, kind, field) for field in schema], schema=schema)


def unknown_columns(content: bytes, kind: type[Record]) -> list[str]:
    """Columns of a whole file that a later version has added."""
    return [name for name in pq.read_schema(pa.BufferReader(content)).names if name not in kind.model_fields]


def _column(table: pa.Table, kind: type[Record], field: pa.Field) -> pa.ChunkedArray | pa.Array:
    """A column as it is typed today; what it lacks has the field's default."""
    default = None if kind.model_fields[field.name].is_required() else kind.model_fields[field.name].default
    if field.name not in table.column_names:
        return pa.repeat(pa.scalar(default, field.type), table.num_rows)
    column = table[field.name]
    try:
        column = column if column.type == field.type else column.cast(field.type)
    except pa.ArrowException as error:
        raise OtherVersion(f"has in '{field.name}': {error}") from error
    optional, known = _allowed(kind)[field.name]
    if column.null_count and not optional:
        if default is None:
            raise OtherVersion(f"has in '{field.name}': no value")
        column = column.fill_null(default)
    if known:
        others = [value for value in pc.unique(column).to_pylist() if value is not None and value not in known]
        if others:
            raise OtherVersion(f"has in '{field.name}': '{others[0]}', which is none of {', '.join(known)}")
    return column


@cache
def _schema(kind: type[Record]) -> pa.Schema:
    hints = typing.get_type_hints(kind)
    return pa.schema([(name, _arrow_type(hints[name])) for name in kind.model_fields])


@cache
def _allowed(kind: type[Record]) -> dict[str, tuple[bool, tuple[str, ...]]]:
    """Field -> whether it may be null, and its values where they are a few words."""
    hints = typing.get_type_hints(kind)
    return {name: (_bare(hints[name]) != hints[name], _words(hints[name])) for name in kind.model_fields}


def _bare(hint: Any) -> Any:
    """A type without `| None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    return hint


def _words(hint: Any) -> tuple[str, ...]:
    bare = _bare(hint)
    return typing.get_args(bare) if typing.get_origin(bare) is Literal else ()


def _arrow_type(hint: Any) -> pa.DataType:
    bare = _bare(hint)
    return pa.string() if _words(bare) else {str: pa.string(), int: pa.int64(), float: pa.float64()}[bare]
