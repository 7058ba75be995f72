"""How much cache the processor has, as the operating system reports it."""

import os
import re
from pathlib import Path
from typing import Final

_REPORTED: Final = Path("/sys/devices/system/cpu/cpu0/cache")

SAID_BY_USER: Final = "SAMBLOCKS_PROCESSOR_CACHE_MB"
"""The variable that says it instead, in MB: for a machine that reports wrongly, and for another machine's chunks."""


def processor_cache() -> int | None:
    """Give the size of the last cache before memory, as the user says it or as the system reports it.

    Returns:
        Bytes; None where nobody says.

    Raises:
        ValueError: the variable SAMBLOCKS_PROCESSOR_CACHE_MB is no whole number above 0.
    """
    said = os.environ.get(SAID_BY_USER, "")
    if not said:
        return last_level_cache()
    if not said.isdecimal() or not int(said):
        raise ValueError(f"{SAID_BY_USER} must be a whole number of MB above 0, but is {said!r}")
    return int(said) << 20


def last_level_cache(folder: Path = _REPORTED) -> int | None:
    """Read the size of the cache that lies before memory, which cores may share.

    A virtual machine reports its host's, whoever else runs there. The answer is the same in every process of a machine.

    Args:
        folder: where Linux lists the caches of a core, a folder for each.

    Returns:
        Bytes; None where the system does not say: containers without `/sys`, and systems other than Linux.

    Examples:
        >>> last_level_cache(Path("nowhere")) is None
        True
    """
    found = [(0, 0)]
    for cache in folder.glob("index*"):
        try:
            kind, level, size = ((cache / name).read_text().strip() for name in ("type", "level", "size"))
        except (OSError, UnicodeDecodeError):
            continue
        kibibytes = re.fullmatch(r"(\d+)K", size)
        if kind != "Instruction" and level.isdecimal() and kibibytes:
            found.append((int(level), int(kibibytes[1]) << 10))
    return max(found)[1] or None
