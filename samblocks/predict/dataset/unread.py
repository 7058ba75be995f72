"""Which pictures of a data set could not be read, and why: beside the results, until they can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from samblocks.files import write_text

FILE: Final = "unread.json"


class Unread:
    """Pictures that could not be read: reasons by key.

    Args:
        folder: where the results are. The file `unread.json` in it says what could not be read in the last run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self.reasons: dict[str, str] = {}

    def add(self, key: str, reason: str) -> None:
        """Note one."""
        self.reasons[key] = reason

    def save(self) -> None:
        """Write the file; delete it where everything was read."""
        if self.reasons:
            write_text(self._file, json.dumps(self.reasons, indent=1, ensure_ascii=False))
        else:
            self._file.unlink(missing_ok=True)
