"""Goldens of a stranger's project: recorded on one machine, judged on another.

Run as a script it records the goldens of a folder, or judges them in this process and prints which do not hold.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parity.errors import UsageError
from parity.execution.personalities import PERSONALITIES
from parity.fill import fill_, tensor
from parity.run.goldens import GoldenError
from parity.testing import golden_file
from parity.testing.call import Ask
from parity.testing.check import How
from samblocks.numerics import matmul

ROOT = Path(__file__).parents[3]
HOW = How(Ask())
Function = Callable[[Tensor], Tensor]


def coarse(y: Tensor) -> Tensor:
    """The same function in exact arithmetic; in float32 three bits are lost, everywhere alike."""
    return (y + 8) - 8


class Theirs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(nn.functional.gelu(self.inner(x)))


class Ours(Theirs):
    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.inner.weight.T + self.inner.bias
        y = y * 0.5 * (1 + torch.erf(y * 0.5**0.5))
        return (
            sum(y[..., i : i + 16] @ self.out.weight[:, i : i + 16].T for i in range(0, 64, 16))
            + self.out.bias
        )


POSITIVE = tensor("weight", (64, 384)).abs()
PAIRS: dict[str, tuple[Function, Function]] = {
    "sum": (lambda x: x.flip(0).sum(), lambda x: x.sum()),
    "mean": (lambda x: x.reshape(8, -1).mean(1).mean(), lambda x: x.mean()),
    "norm": (lambda x: x.square().sum().sqrt(), lambda x: x.flatten().norm()),
    "product": (lambda x: x[0] @ x[1], lambda x: (x[0] * x[1]).sum()),
    "layers": (fill_(Ours()).eval(), fill_(Theirs()).eval()),
    # Sums of positive numbers grow, and with them what is rounded: here kernels differ most.
    "positive": (lambda x: (POSITIVE @ x.abs().T).T, lambda x: nn.functional.linear(x.abs(), POSITIVE)),
}
SHAPES = {"layers": (8, 32), "positive": (64, 384)}


def inputs(name: str) -> Tensor:
    return tensor(name, SHAPES.get(name, (8, 512)))


def record(folder: Path, names: Iterable[str] = PAIRS) -> None:
    for name in names:
        candidate, reference = PAIRS[name]
        golden_file.record(folder / name, candidate, reference, inputs(name), HOW)


def failing(folder: Path) -> list[str]:
    """What the goldens of a folder say of those that do not hold."""
    names = sorted(path.name for path in folder.iterdir())
    assert names
    judged = {name: golden_file.judge_by(folder / name, PAIRS[name][0], inputs(name), HOW) for name in names}
    return [f"{name}: {result}" for name, result in judged.items() if not result]


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goldens")
    record(folder)
    return folder


def test_they_hold_where_they_were_recorded(goldens: Path) -> None:
    assert failing(goldens) == []


def with_old_kernels(what: str, folder: Path) -> str:
    """What this script prints in a process that computes as an old processor would."""
    personality = next(each for each in PERSONALITIES if each.name == "all-old")
    if why := personality.why_not():
        pytest.skip(why)
    variables = {**os.environ, **personality.variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, what, str(folder)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip()


def test_they_hold_with_other_kernels(goldens: Path) -> None:
    assert with_old_kernels("judge", goldens) == "0"


def test_those_of_more_exact_kernels_hold_here(tmp_path: Path) -> None:
    with_old_kernels("record", tmp_path)
    assert failing(tmp_path) == []


def test_a_judgement_says_how_much_more_exact_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, file = inputs("layers"), tmp_path / "g"
    candidate, reference = PAIRS["layers"]
    golden_file.record(file, candidate, reference, x, HOW)
    before, here = golden_file.judge_by(file, candidate, x, HOW), matmul.matmul_error()
    monkeypatch.setattr(matmul, "matmul_error", lambda: 2 * here)
    found = golden_file.judge_by(file, candidate, x, HOW)
    assert "matrix products are 2 times less exact here than where the golden was recorded" in str(found)
    assert "less exact" not in str(before)
    assert found.worst.comparison.ratio == pytest.approx((before.worst.comparison.ratio or 0.0) / 2)


def test_errors_of_further_draws_decide(tmp_path: Path) -> None:
    x, file = tensor("x", (64,)), tmp_path / "g"
    golden_file.record(file, lambda t: coarse(t * 1.1), lambda t: t * 1.1, x, HOW)
    found = golden_file.judge_by(file, lambda t: coarse(t * 1.1), x, HOW)
    assert not found
    assert found.worst.comparison.draws == 8
    assert "the same function, less precise" in str(found)
    assert golden_file.judge_by(file, lambda t: t * 1.1, x, HOW)
    assert "another function" in str(golden_file.judge_by(file, lambda t: t * 1.1 + 1e-6, x, HOW))


def test_a_random_reference_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the reference is not the same in every run"):
        golden_file.record(tmp_path / "g", torch.sin, nn.Dropout(0.5), torch.ones(64), HOW)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bytes_left", [0, 7, 300])
def test_a_damaged_golden_says_so(tmp_path: Path, bytes_left: int) -> None:
    file = tmp_path / "g"
    golden_file.record(file, lambda t: t.sin(), torch.sin, torch.ones(4), HOW)
    file.write_bytes(file.read_bytes()[:bytes_left])
    with pytest.raises(GoldenError, match="is damaged"):
        golden_file.judge_by(file, torch.sin, torch.ones(4), HOW)


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    print(*((failing(folder) or ["0"]) if what == "judge" else [record(folder, SHAPES)]))
