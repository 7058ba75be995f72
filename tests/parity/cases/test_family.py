"""Families of cases: what is shared, what a row adds, and what it has in place of the family's."""

import pytest

from parity.cases.family import family, row
from parity.execution.case import Case, uniform

X, MASKS = uniform(1, 2), uniform(3)


def test_a_row_adds_to_its_family_and_replaces_what_it_names() -> None:
    shared = family(block="Any", kwargs={"dim": 8, "heads": 2}, inputs={"x": X}, bound64=1e-10, exact=True)
    plain, other = shared.of(
        plain=row("as it is"),
        other=row("otherwise", {"heads": 1, "bias": False}, {"masks": MASKS}, exact=False, quick=False),
    )
    assert plain == Case(
        block="Any",
        name="plain",
        why="as it is",
        kwargs={"dim": 8, "heads": 2},
        inputs={"x": X},
        bound64=1e-10,
        exact=True,
    )
    assert other == Case(
        block="Any",
        name="other",
        why="otherwise",
        kwargs={"dim": 8, "heads": 1, "bias": False},
        inputs={"x": X, "masks": MASKS},
        bound64=1e-10,
        quick=False,
    )


def test_rows_of_a_shared_name_are_told_by_their_blocks() -> None:
    cases = family(name="gradients", train=True).of(Block=row("one"), MLP=row("two", name="dropped"))
    assert [case.id for case in cases] == ["Block/gradients", "MLP/dropped"]
    assert all(case.train for case in cases)


def test_a_field_that_no_case_has_is_refused() -> None:
    with pytest.raises(TypeError, match="bond64"):
        family(block="Any", bond64=1e-10).of(one=row("why"))
