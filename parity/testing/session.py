"""The results of a pytest session in one file, for machines or for people."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.reports.summary import SCHEMA, environment
from samblocks.files import write_text


def write_json(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the records as JSON whole or not at all; folders are made."""
    cases = [{name: value for name, value in record.items() if name != "error_map"} for record in records]
    document = {"schema": SCHEMA, "environment": environment({}), "cases": cases}
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n", make_folder=True)


def write_html(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the records as one self-contained page; needs the extra `plots`. Folders are made."""
    from parity.reports.html import page

    write_text(path, page(records, environment({}), title="Parity of this project's tests"), make_folder=True)
