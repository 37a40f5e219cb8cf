"""Which columns of a Parquet file are its images, its labels and its importance maps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from scaling.data.formats.base import Unlabelled
from scaling.errors import StudyError

if TYPE_CHECKING:
    import pyarrow as pa

MAP_COLUMN = "heatmap"  # ClickMe's
KINDS = {"image_column": "image columns (struct<bytes, path>)", "label_column": "label columns (int64)"}


class Columns(NamedTuple):
    """Names of the columns of images, labels and importance maps, and of the classes by label."""

    image: str
    label: str
    map: str | None
    classes: tuple[str, ...]


def find_columns(schema: pa.Schema, where: str, image: str | None = None, label: str | None = None) -> Columns:
    """The columns of images, labels and maps. image, label: their names, where they are chosen.

    Raises:
        StudyError: none or several could be images, or labels; a chosen one is absent or of another type.
        Unlabelled: the chosen column of labels is absent.
    """
    import pyarrow as pa

    coded, structs = _coded_columns(schema)
    maps = MAP_COLUMN if MAP_COLUMN in coded and image != MAP_COLUMN else None
    images = [name for name in structs if name != maps] or [name for name in coded if name != maps]
    integers = [f.name for f in schema if pa.types.is_integer(f.type)]
    features = _features(schema, where)
    classes = {name: one.get("names") for name, one in features.items() if one.get("_type") == "ClassLabel"}
    labels = [name for name in classes if name in integers] or integers
    if label is not None and label not in schema.names:
        raise Unlabelled(
            f"'{where}' has no column '{label}' of labels; name another by dataset.label_column, or a split that has "
            f"it by dataset.heldout_split; columns: {', '.join(schema.names)}"
        )
    chosen_image = _choose("image_column", image, images, coded, schema, where)
    chosen_label = _choose("label_column", label, labels, integers, schema, where)
    return Columns(chosen_image, chosen_label, maps, tuple(map(str, classes.get(chosen_label) or ())))


def _coded_columns(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """The columns of coded images, and those of them that are Hugging Face's struct."""
    import pyarrow as pa

    def is_binary(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    structs = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    return structs + [f.name for f in schema if is_binary(f.type)], structs


def _choose(field: str, chosen: str | None, found: list[str], fit: list[str], schema: pa.Schema, where: str) -> str:
    """The chosen column, or the only one that could be it."""
    columns = f"columns: {', '.join(f'{f.name} ({f.type})' for f in schema)}"
    if chosen is not None and chosen not in fit:
        raise StudyError(f"dataset.{field}='{chosen}' is none of the {KINDS[field]} in '{where}'; {columns}")
    if chosen is None and len(found) != 1:
        remedy = f"name one by dataset.{field}: {', '.join(found)}" if found else "add one"
        raise StudyError(f"'{where}' has {len(found)} {KINDS[field]}, one is needed; {remedy}; {columns}")
    return chosen or found[0]


def _features(schema: pa.Schema, where: str) -> dict[str, dict[str, Any]]:
    """What Hugging Face's library says of each column."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    try:
        info = {} if metadata is None else json.loads(metadata).get("info") or {}
        features = (info.get("features") or {}).items()
    except (ValueError, AttributeError) as error:
        raise StudyError(
            f"'{where}' has metadata 'huggingface' that cannot be read ({error}); write the file again, or without them"
        ) from error
    return {name: feature for name, feature in features if isinstance(feature, dict)}
