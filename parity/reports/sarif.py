"""What did not hold as SARIF 2.1.0, for tools that gather findings from many checkers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity.reports import summary
from parity.reports.line import MEANINGS, Line
from parity.run.judging import Row
from parity.verdict.compare import Verdict
from samblocks.files import write_text

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULES = (Verdict.DIVERGED, Verdict.INCOMPARABLE)


def document(rows: Sequence[Row], version: str, root: Path | None = None) -> dict[str, Any]:
    """The SARIF log.

    Args:
        rows: what the run yielded.
        version: of this package; left out where it is empty.
        root: the folder that paths are given from; the current one by default.
    """
    driver: dict[str, Any] = {
        "name": "samblocks parity",
        "rules": [
            {
                "id": _rule(verdict),
                "shortDescription": {"text": MEANINGS[verdict]},
                "defaultConfiguration": {"level": "error"},
            }
            for verdict in _RULES
        ],
    }
    if version:
        driver["version"] = version
    results = [_result(line, root) for line in summary.summarize(rows) if line.verdict.failed]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def write(rows: Sequence[Row], path: Path, version: str) -> None:
    """Write the log; a temporary file, then a rename."""
    text = json.dumps(document(rows, version), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _rule(verdict: Verdict) -> str:
    return f"parity/{verdict.lower()}"


def _result(line: Line, root: Path | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": _rule(line.verdict),
        "ruleIndex": _RULES.index(line.verdict),
        "level": "error",
        "message": {"text": line.message},
        "partialFingerprints": {"caseAndReference/v1": f"{line.id} {line.reference}"},
        "properties": {
            key: value
            for key, value in line.figures.items()
            if abs(value) < float("inf")  # JSON has neither infinity nor NaN
        },
    }
    place = line.place(root)
    if place is not None:
        result["locations"] = [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": place.file},
                    "region": {"startLine": place.line},
                }
            }
        ]
    return result
