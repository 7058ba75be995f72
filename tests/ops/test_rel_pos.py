"""Relative positions against the formula, pair by pair."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from parity.execution import fill
from samblocks.ops.rel_pos import add_decomposed_rel_pos, get_rel_pos, rel_pos_terms


@pytest.mark.parametrize(("q_size", "k_size"), [(1, 1), (3, 3), (5, 5), (2, 4), (4, 2), (3, 9), (8, 2)])
def test_rows_are_read_by_distance(q_size: int, k_size: int) -> None:
    longest = max(q_size, k_size)
    table = fill.tensor("table", (2 * longest - 1, 3))
    found = get_rel_pos(q_size, k_size, table)
    q_step, k_step = Fraction(longest, q_size), Fraction(longest, k_size)
    for i in range(q_size):
        for j in range(k_size):
            distance = i * q_step - j * k_step + (k_size - 1) * k_step
            assert torch.equal(found[i, j], table[int(distance)])


def test_distances_between_rows_are_cut_as_upstream_cuts_them() -> None:
    """In float32 three times five thirds is not five: these rows are what upstream reads."""
    table = torch.arange(9.0)[:, None]
    exact = [[int(i * Fraction(5, 3)) - j + 4 for j in range(5)] for i in range(3)]
    assert get_rel_pos(3, 5, table)[..., 0].tolist() == exact
    positions = torch.arange(69, dtype=torch.float32)
    step = 69 / 68
    expected = (positions[:, None] - torch.arange(68, dtype=torch.float32)[None] * step + 67 * step).long()
    assert torch.equal(get_rel_pos(69, 68, torch.arange(137.0)[:, None])[..., 0].long(), expected)


@pytest.mark.parametrize("length", [1, 4, 9, 27])
def test_other_tables_are_interpolated_linearly(length: int) -> None:
    table = fill.tensor("table", (length, 2), torch.float64)
    found = get_rel_pos(4, 4, table)
    centres = (np.arange(7) + 0.5) * length / 7 - 0.5
    resized = np.stack([np.interp(centres, np.arange(length), column) for column in table.numpy().T], -1)
    for i in range(4):
        for j in range(4):
            np.testing.assert_allclose(found[i, j].numpy(), resized[i - j + 3], atol=1e-12)


def test_both_axes_are_added_for_each_pair() -> None:
    q_size, k_size = (2, 3), (4, 5)
    attn, q = fill.tensor("attn", (2, 6, 20)), fill.tensor("q", (2, 6, 4))
    table_h, table_w = fill.tensor("h", (7, 4)), fill.tensor("w", (9, 4))
    rows, columns = get_rel_pos(2, 4, table_h), get_rel_pos(3, 5, table_w)
    found = add_decomposed_rel_pos(attn, q, table_h, table_w, q_size, k_size)
    terms = rel_pos_terms(q, table_h, table_w, q_size, k_size)
    bias = (terms[0] + terms[1]).reshape(2, 6, 20)
    for b in range(2):
        for n in range(6):
            for m in range(20):
                offset = rows[n // 3, m // 5] + columns[n % 3, m % 5]
                expected = float(q[b, n] @ offset)
                assert abs(float(found[b, n, m] - attn[b, n, m]) - expected) < 1e-5
                assert abs(float(bias[b, n, m]) - expected) < 1e-5


def test_tables_of_half_types_are_read_by_exact_distances() -> None:
    table = torch.arange(255.0)[:, None].half()
    assert torch.equal(get_rel_pos(128, 128, table)[..., 0].long()[0], torch.arange(127, -1, -1))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="q_size and k_size must be at least 1, got 0 and 3"):
        get_rel_pos(0, 3, torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"rel_pos must be \[L, C\].*\(5,\)"):
        get_rel_pos(3, 3, torch.zeros(5))
