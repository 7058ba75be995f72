"""How much memory a call takes at its highest, beyond what the process had before it."""

import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")


def measured(call: Callable[[], object]) -> dict[str, float]:
    """Run a call once.

    Args:
        call: what to measure; meant to be the first of its kind in a fresh process.

    Returns:
        Its `seconds`, its `processor` time in seconds, its `peak` in bytes over what was resident before, mapped
        pages counted, the whole process's at that moment as `highest`, and `anonymous`, the part of the peak at the
        end of the call which no file backs (0 where the system does not tell).
    """
    before, private = _resident()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest mark starts anew
    start, started = time.perf_counter(), time.process_time()
    result = call()
    seconds, processor = time.perf_counter() - start, time.process_time() - started
    after, private_after = _highest(), _resident()[1]
    del result
    return {
        "seconds": seconds,
        "processor": processor,
        "peak": after - before,
        "highest": after,
        "anonymous": private_after - private,
    }


def private_memory() -> int:
    """Bytes of this process's memory that no file backs; 0 where the system does not tell.

    Pages of a mapped file are not among them: they are the system's, and go when they must.
    """
    return _field("RssAnon") if _STATUS.exists() else 0


def _field(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    return 0


def _resident() -> tuple[int, int]:
    if _STATUS.exists():
        return _field("VmRSS"), private_memory()
    return _highest(), 0


def _highest() -> int:
    if _STATUS.exists():
        return _field("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
