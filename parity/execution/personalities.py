"""One processor made to compute like others: the variables by which torch's libraries choose their kernels."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import torch

_X86 = ("x86_64", "AMD64")


@dataclass(frozen=True)
class Personality:
    """A set of kernels, chosen before a process starts.

    Attributes:
        name: what it is called on the command line and in reports.
        variables: environment variables that choose it.
        library: whose kernels it changes: "aten", "mkl" or "onednn", several separated by spaces; or "threads", or
            "chunks" for the sizes of products that samblocks chooses by the processor's cache.
    """

    name: str
    variables: Mapping[str, str]
    library: str

    def why_not(self) -> str:
        """Why this build, or this processor, cannot compute so; empty where it can."""
        for library in self.library.split():
            if library not in ("threads", "chunks") and platform.machine() not in _X86:
                return f"the variables are for x86, this processor is {platform.machine()}"
            if library == "mkl" and not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
                return "this build of torch has no MKL"
            if library == "onednn" and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
                return "this build of torch has no oneDNN"
        return ""


THREADS = "PARITY_THREADS"
"""The variable that says how many threads each side of a run, and each test, may use."""

_ATEN = {"ATEN_CPU_CAPABILITY": "default"}
_MKL = {"MKL_CBWR": "COMPATIBLE"}
_ONEDNN = {"ONEDNN_MAX_CPU_ISA": "SSE41"}


def _threads(count: int) -> Personality:
    return Personality(f"threads-{count}", {THREADS: str(count)}, "threads")


def _cache(megabytes: int) -> Personality:
    return Personality(f"cache-{megabytes}", {"SAMBLOCKS_PROCESSOR_CACHE_MB": str(megabytes)}, "chunks")


def threads(usual: int) -> int:
    """How many threads torch may use: what a personality says, else as usual."""
    return int(os.environ.get(THREADS) or usual)


def usual() -> dict[str, str]:
    """Variables that undo every personality in a process that is started: empty ones are taken out."""
    return {name: "" for one in PERSONALITIES for name in one.variables}


PERSONALITIES = (
    Personality("aten-default", _ATEN, "aten"),
    Personality("aten-avx2", {"ATEN_CPU_CAPABILITY": "avx2"}, "aten"),
    Personality("mkl-compatible", _MKL, "mkl"),
    Personality("onednn-sse41", _ONEDNN, "onednn"),
    Personality("onednn-avx2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "onednn"),
    _threads(1),
    _threads(2),
    _threads(3),
    _cache(8),
    _cache(256),
    Personality("all-old", {**_ATEN, **_MKL, **_ONEDNN}, "aten mkl onednn"),
)
"""All of them, in the order in which they are run."""
