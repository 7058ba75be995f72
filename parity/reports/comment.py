"""What a pytest session found, as a comment below a pull request: verdict, worst R, culprits, stale goldens."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

MARK: Final = "<!-- samblocks parity -->"
"""By it the comment of an earlier run is found, and written over."""

_HELD: Final = ("EXACT", "WITHIN")
_MOST: Final = 10
_STALE: Final = ("is stale: ", "may be stale: ")

Record = Mapping[str, Any]


def failures_of(junit: Path) -> dict[str, str]:
    """What each test that failed says, by "file::test" as far as the JUnit file tells it."""
    found = {}
    for case in ET.parse(junit).getroot().iter("testcase"):
        for failure in (*case.iter("failure"), *case.iter("error")):
            found[str(case.get("name"))] = failure.text or failure.get("message") or "failed"
    return found


def markdown(records: Sequence[Record], failures: Mapping[str, str], *, report: str = "") -> str:
    """The comment.

    Args:
        records: the "cases" of the file that `--parity-json` writes.
        failures: of `failures_of`.
        report: where the HTML page can be had.

    Returns:
        Markdown, which begins with `MARK`.
    """
    failed = [record for record in records if record["verdict"] not in _HELD]
    told = {_test(record) for record in failed}
    others = {name: text for name, text in failures.items() if name not in told}
    lines = [MARK, f"### parity: {_verdict(records, failed, others)}", ""]
    if (worst := _worst(records)) is not None:
        lines += [f"Worst R: **{worst['ratio']:.3g}**, `{worst['output']}` of `{worst['id']}`", ""]
    if failed:
        lines += ["| check | output | verdict | R | largest difference | why |", "|---|---|---|---|---|---|"]
        lines += [_row(record) for record in failed[:_MOST]]
        lines += [f"| … {len(failed) - _MOST} more | | | | | |"] * (len(failed) > _MOST)
        lines.append("")
    lines += [f"- `{name}`: {_one_line(text)}" for name, text in list(others.items())[:_MOST]]
    stale = _stale(failed, failures)
    lines += ["", "**Goldens**", *(f"- {line}" for line in stale)] if stale else []
    if report:
        lines += ["", f"[The page for people]({report}) shows where each difference sits."]
    return "\n".join(lines).rstrip() + "\n"


def _verdict(records: Sequence[Record], failed: Sequence[Record], others: Mapping[str, str]) -> str:
    if failed or others:
        parts = [f"{len(failed)} of {len(records)} outputs did not hold"] if failed else []
        parts += [f"{len(others)} other test{'s' * (len(others) > 1)} failed"] if others else []
        return f"❌ {', '.join(parts)}"
    if not records:
        return "⚠️ nothing was compared"
    return f"✅ all {len(records)} outputs held"


def _worst(records: Sequence[Record]) -> Record | None:
    numbers = [record for record in records if isinstance(record["ratio"], int | float)]
    return max(numbers, key=lambda record: float(record["ratio"]), default=None)


def _row(record: Record) -> str:
    ratio, largest = record["ratio"], record["max_abs"]
    at = f" at {record['index']}" if record["index"] is not None else ""
    cells = (
        f"`{record['id']}`",
        f"`{record['output']}`",
        record["verdict"],
        f"{ratio:.3g}" if isinstance(ratio, int | float) else str(ratio or ""),
        f"{largest:.3g}{at}" if isinstance(largest, int | float) else str(largest or ""),
        record["cause"] or "",
    )
    return "| " + " | ".join(_one_line(str(cell)).replace("|", "\\|") for cell in cells) + " |"


def _stale(failed: Sequence[Record], failures: Mapping[str, str]) -> list[str]:
    """What was said on the staleness of goldens, each sentence once."""
    notes = [
        f"`{_test(record)}`: {note}"
        for record in failed
        for note in record.get("notes", ())
        if "stale" in note
    ]
    known = {_test(record) for record in failed}
    lines = [
        f"`{name}`: {_one_line(text)}"
        for name, text in failures.items()
        if name not in known and any(word in text for word in _STALE)
    ]
    return list(dict.fromkeys([*notes, *lines]))


def _test(record: Record) -> str:
    """The test's name, as JUnit has it."""
    return str(record["id"]).rpartition("#")[0].rpartition("::")[2]


def _one_line(text: str) -> str:
    return " ".join(text.strip().splitlines()[0].split()) if text.strip() else ""
