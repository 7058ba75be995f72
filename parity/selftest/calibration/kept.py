"""Series are kept in a file as they are made, a line for each case: a long run may be made in parts, or go on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from parity import package
from parity.errors import UsageError
from parity.selftest.calibration.alarms import Series
from samblocks.numerics.verdict import Comparison, Verdict


class Kept:
    """The series of cases, by case id, in memory and in a file.

    Attributes:
        series: by case id, those that are there.
    """

    def __init__(self, file: Path | None, draws: int) -> None:
        """Read what is there.

        Args:
            file: where series are kept; None keeps them in memory alone.
            draws: how many there are beside draw 0.

        Raises:
            UsageError: the file is of other code, another torch or other draws, or is no such file.
        """
        self._file, self.series = file, dict[str, list[Series]]()
        self._mark = {"code": _code(), "torch": torch.__version__, "draws": draws}
        if file is None or not file.exists():
            return
        try:
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            marks = [line["mark"] for line in lines]
            self.series = {
                line["case"]: [_read(line["case"], one) for one in line["series"]] for line in lines
            }
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file} holds no series: {type(error).__name__}: {error}") from None
        if any(mark != self._mark for mark in marks):
            raise UsageError(
                f"{file} is of other code, another torch or other draws: remove it, or name another"
            )

    def add(self, case: str, series: Sequence[Series]) -> None:
        """Keep the series of a case."""
        self.series[case] = list(series)
        if self._file is not None:
            line = {"mark": self._mark, "case": case, "series": [_written(one) for one in series]}
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def _code() -> str:
    """A digest of the code that series rest on."""
    total = hashlib.sha256()
    for folder in ("samblocks", "parity"):
        for file in sorted((package.ROOT / folder).rglob("*.py")):
            total.update(f"{file.relative_to(package.ROOT)}\0".encode() + file.read_bytes())
    return total.hexdigest()[:16]


def _written(one: Series) -> dict[str, Any]:
    draws = [[str(found.verdict), found.ratio, found.cause] for found in one.draws]
    return {**vars(one), "draws": draws}


def _read(case: str, fields: dict[str, Any]) -> Series:
    draws = [Comparison(Verdict(verdict), ratio, cause=cause) for verdict, ratio, cause in fields["draws"]]
    return Series(**{**fields, "case": case, "draws": draws})
