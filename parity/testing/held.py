"""Checks that held in an earlier run, so that an interrupted one goes on: a line for each, written when it held."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.testing.fingerprint import hash_of
from samblocks.files import write_text

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Held:
    """What is kept in a folder.

    Attributes:
        folder: of the cache.
    """

    folder: Path

    def records(self, key: str) -> Sequence[Record] | None:
        """What a check found when it held; None where it did not, or any file of the project changed since."""
        for line in self._lines():
            if line.get("key") == key and self._unchanged(str(line.get("files", ""))):
                return list(line.get("records", ()))
        return None

    def keep(self, key: str, files: Mapping[str, str], records: Sequence[Record]) -> None:
        """Write that a check held, with these files of the project: at once, so that nothing is lost."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(files)
        name = hashlib.sha256(text.encode()).hexdigest()[:20]
        listed = self.folder / f"files-{name}.json"
        if not listed.exists():
            write_text(listed, text)
        line = json.dumps({"key": key, "files": name, "records": list(records)})
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        with (self.folder / f"held-{worker}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """Newest first; a line that an interruption cut off is passed over."""
        found = []
        for file in sorted(self.folder.glob("held-*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    found.append(dict(json.loads(line)))
                except (ValueError, TypeError):
                    continue
        return found[::-1]

    def _unchanged(self, name: str) -> bool:
        try:
            files = json.loads((self.folder / f"files-{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return all(hash_of(file) == before for file, before in files.items())


def tidy(folder: Path) -> None:
    """Keep the newest line of each check, and the lists of files that are named."""
    held = Held(folder)
    newest: dict[str, dict[str, Any]] = {}
    for line in held._lines():
        newest.setdefault(str(line.get("key")), line)
    if not newest:
        return
    every, whole = list(folder.glob("held-*.jsonl")), folder / "held-main.jsonl"
    write_text(whole, "".join(json.dumps(line) + "\n" for line in reversed(newest.values())))
    for file in every:
        if file != whole:
            file.unlink()
    named = {line.get("files") for line in newest.values()}
    for file in folder.glob("files-*.json"):
        if file.stem.removeprefix("files-") not in named:
            file.unlink()
