"""Families of cases as tables of differences: what all of them share is said once, and a row adds what is its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parity.execution.case import Case, Spec


@dataclass(frozen=True)
class Row:
    """What one case of a family has beyond the others; see `row`."""

    why: str
    kwargs: Mapping[str, Any]
    inputs: Mapping[str, Spec]
    fields: Mapping[str, Any]


def row(
    why: str,
    kwargs: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Spec] | None = None,
    **fields: Any,
) -> Row:
    """One case: which behaviour it pins, and what it adds to its family or has in place of it.

    Args:
        why: see `Case`.
        kwargs: arguments of the constructor, beside the family's.
        inputs: inputs, behind the family's.
        fields: any other field of `Case`.
    """
    return Row(why, kwargs or {}, inputs or {}, fields)


@dataclass(frozen=True)
class Family:
    """What several cases share; see `family`."""

    kwargs: Mapping[str, Any]
    inputs: Mapping[str, Spec]
    fields: Mapping[str, Any]

    def of(self, /, **rows: Row) -> tuple[Case, ...]:
        """The cases, by their names; by their blocks where the family shares a name."""
        key = "name" if "block" in self.fields else "block"
        return tuple(
            Case(
                why=one.why,
                kwargs={**self.kwargs, **one.kwargs},
                inputs={**self.inputs, **one.inputs},
                **{key: own, **self.fields, **one.fields},
            )
            for own, one in rows.items()
        )


def family(
    *,
    kwargs: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Spec] | None = None,
    **fields: Any,
) -> Family:
    """What several cases share: `family(block="CXBlock", bound64=1e-10).of(one=row(...), other=row(...))`.

    Args:
        kwargs: arguments of the constructor that all of them have.
        inputs: inputs that all of them have.
        fields: other fields of `Case`; either `block` or `name` is among them, and rows are told by the other.
    """
    return Family(kwargs or {}, inputs or {}, fields)
