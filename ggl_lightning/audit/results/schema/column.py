"""One column of the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Row: TypeAlias = dict[str, Any]
"""A case's result, or a training's, by column; nested only in parameters and details."""

Kind: TypeAlias = Literal["text", "integer", "number", "boolean", "list", "object"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One field of a case's row.

    Attributes:
        name: In ``result.json``, ``summary.json``, ``results.csv`` and ``results.parquet``.
        kind: What its values are; lists and objects are JSON in tables.
        meaning: What it says, as Markdown.
        types: Python's types of its values in JSON, if no row can be placed without it.
        is_found: Whether it is known only once the case has been run.
        needs_private_image: Whether it cannot be had without the private image.
        is_logged: Whether TensorBoard gets its mean over a defense's and an attack's cases.
        is_hparam: Whether it is an outcome in TensorBoard's HParams.
        is_optional: Whether tables have it only if some row has.
        ceiling: Above this a value counts as this where a mean is taken; None: as it is.
    """

    name: str
    kind: Kind
    meaning: str
    types: tuple[type, ...] = ()
    is_found: bool = False
    needs_private_image: bool = False
    is_logged: bool = False
    is_hparam: bool = False
    is_optional: bool = False
    ceiling: float | None = None

    @property
    def is_text(self) -> bool:
        """Whether tables hold text in it, even where every value is missing."""
        return self.kind in ("text", "list", "object")
