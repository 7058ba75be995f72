"""The public checkpoints: which there are, what their bytes must be, and `fetch`, which downloads one.

This is the one door to them; the modules behind it are nobody else's business.

| name | what it does |
|---|---|
| `fetch` | a name to the path of a file whose size and sha256 are the locked ones |
| `find`, `by_size`, `by_sha256` | a name, a size or a hash to what the list says |
| `read_lock` | the whole list |
| `stated_image_size` | what it says of the file at a path that tensors do not tell |
| `survey` | asks the hosts whether the list still holds |
"""

from samblocks.checkpoints.published.fetching import fetch
from samblocks.checkpoints.published.lock import (
    UnknownName,
    by_sha256,
    by_size,
    find,
    read_lock,
    stated_image_size,
)
from samblocks.checkpoints.published.lock_check import Finding, Verdict, survey
from samblocks.checkpoints.published.lock_format import Entry, Lock, Unlocked

__all__ = [
    "Entry",
    "Finding",
    "Lock",
    "UnknownName",
    "Unlocked",
    "Verdict",
    "by_sha256",
    "by_size",
    "fetch",
    "find",
    "read_lock",
    "stated_image_size",
    "survey",
]
