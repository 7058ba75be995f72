"""The results of a pytest session in one file, for machines or for people."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.report import SCHEMA, environment


def write_json(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the records as JSON; a temporary file, then a rename."""
    document = {"schema": SCHEMA, "environment": environment({}), "cases": list(records)}
    _write(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def write_html(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the records as one self-contained page; needs the extra `plots`."""
    from parity.html import page

    _write(path, page(records, environment({}), title="parity"))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
