"""How exact products are: measured on torch alone, and what of it counts."""

import os
import subprocess
import sys

import pytest
import torch

from parity.execution.personalities import PERSONALITIES
from samblocks.numerics import matmul
from samblocks.numerics.matmul import matmul_error, matmul_error_ratio
from samblocks.numerics.verdict import Error, Verdict, compare, ratio_of


def test_products_of_old_kernels_are_float32s() -> None:
    one = next(each for each in PERSONALITIES if each.name == "all-old")
    if why := one.why_not():
        pytest.skip(why)
    code = "from samblocks.numerics.matmul import matmul_error, matmul_error_ratio as r\n"
    code += f"print(matmul_error(), r({matmul_error()}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **one.variables},
        capture_output=True,
        text=True,
        check=True,
    )
    found, ratio = map(float, done.stdout.split())
    # The root of 768 roundings of half a unit in the last place, were all of them rounded at full size: 8.3e-7.
    assert 6e-8 < found < 8.3e-7
    assert ratio == pytest.approx(max(1.0, found / matmul_error()), rel=0.11)


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [(None, 1.0), (0.0, 1.0), (1e-7, 2.0), (2e-7, 1.0), (1.9e-7, 1.0), (4e-7, 1.0), (7e-8, 1.0), (1e-9, 1.0)],
)
def test_what_counts(monkeypatch: pytest.MonkeyPatch, elsewhere: float | None, expected: float) -> None:
    monkeypatch.setattr(matmul, "matmul_error", lambda: 2e-7)
    assert matmul_error_ratio(elsewhere) == pytest.approx(expected)


def test_products_in_bfloat16_are_no_excuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "matmul_error", lambda: 2e-3)
    assert matmul_error_ratio(3.5e-7) == 1.0


def test_the_references_error_counts_so_many_times() -> None:
    truth = torch.linspace(1.0, 2.0, 64, dtype=torch.float64)
    theirs, ours = (truth + 1e-5 * scale * torch.sin(9 * truth) for scale in (1.0, 3.0))
    plain = compare(ours.float(), theirs.float(), truth)
    scaled = compare(ours.float(), theirs.float(), truth, matmul=1.8)
    assert plain.verdict is Verdict.DIVERGED
    assert scaled.verdict is Verdict.WITHIN
    assert plain.ratio is not None
    assert scaled.ratio == pytest.approx(plain.ratio / 1.8)


def test_the_error_of_equivalents_counts_so_many_times_too() -> None:
    truth = torch.linspace(1.0, 2.0, 64, dtype=torch.float64)
    ours = (truth + 1e-5).float()
    single, scaled = (
        ratio_of(ours, truth, Error(1e-9, 1e-9), honest=1e-6, matmul=matmul)[0] for matmul in (1.0, 1.8)
    )
    assert scaled == pytest.approx(single / 1.8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_in_another_precision_it_does_not_count(dtype: torch.dtype) -> None:
    truth = torch.linspace(1.0, 2.0, 64, dtype=torch.float64)
    ours = (truth + 1e-2).to(dtype)
    assert ratio_of(ours, truth, Error(1e-3, 1e-3), matmul=1.8) == ratio_of(ours, truth, Error(1e-3, 1e-3))
