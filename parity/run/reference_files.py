"""A digest of the files that a reference consists of: upstream edited in place has the version that it had before."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from parity.workers import installed
from parity.workers.client import Client
from samblocks.files import write_text

_SETTLED = 2 * 10**9
"""Nanoseconds after which a file that is changed again gets another time, whatever the file system."""

Remembered = dict[str, list[object]]
"""By path: the file's size, times and inode when it was read, and its digest."""


def digest(client: Client, memory: Path) -> str | None:
    """Hash the names and contents of all files of a reference's distributions.

    Args:
        client: its worker.
        memory: a file that remembers contents, so that only those of changed files are read.

    Returns:
        The digest; None where the files of a distribution cannot be told.
    """
    found = client.ask(installed.__name__, {"distributions": list(client.reference.packages)})["files"]
    if not all(found.values()):
        return None
    return of_files([file for files in found.values() for file in files], memory)


def of_files(files: Sequence[str], memory: Path) -> str:
    """Hash the names and contents of files; those that `memory` knows and that have not been touched are not read."""
    known = _read(memory)
    fresh: Remembered = {}
    total = hashlib.sha256()
    for file in files:
        stat = os.stat(file)
        marks: list[object] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        entry = known.get(file, [])
        settled = max(stat.st_mtime_ns, stat.st_ctime_ns) < time.time_ns() - _SETTLED
        if entry[:-1] != marks:
            with open(file, "rb") as stream:
                entry = [*marks, hashlib.file_digest(stream, "sha256").hexdigest()]
        total.update(f"{file}\0{entry[-1]}\n".encode())
        if settled:  # else a change within the same tick of the clock would not be seen
            fresh[file] = entry
    if fresh != known:
        write_text(memory, json.dumps(fresh), make_folder=True)
    return total.hexdigest()


def _read(memory: Path) -> Remembered:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(known, dict) and all(isinstance(e, list) and len(e) == 5 for e in known.values())
    return known if whole else {}
