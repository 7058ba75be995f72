"""`samblocks doctor`: what is installed, on what processor, with which kernels, and what the tests were seen with.

For reports of bugs, and before one trusts figures: numbers depend on the kernels that torch's libraries choose for a
processor. `make processors` runs the tests with those of several, which are listed here.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final

HELP = "print versions, processor, kernels, and what the tests are run with"
_OPTIONAL: Final = ("pillow", "av", "matplotlib", "jinja2", "rich", "pyarrow", "ray")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print everything."""
    from samblocks.cli.commands import version

    version.run(arguments)
    there = [f"{name} {found}" for name in _OPTIONAL if (found := _version(name))]
    print(f"extras: {', '.join(there) or 'none'}")
    if absent := [name for name in _OPTIONAL if not _version(name)]:
        print(f"not installed, and needed by extras alone: {', '.join(absent)}")
    print(f"processor: {_processor()}, {os.cpu_count()} threads of it")
    for line in _torch():
        print(line)
    print()
    for line in _yardstick():
        print(line)
    return 0


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _torch() -> Iterator[str]:
    try:
        torch: Any = import_module("torch")
    except ImportError as error:
        yield f"torch cannot be imported: {error}"
        return
    backends = torch.backends
    libraries = [name for name in ("mkl", "mkldnn", "openmp") if getattr(backends, name).is_available()]
    chosen = ", ".join([f"ATen {backends.cpu.get_cpu_capability()}", *libraries])
    yield f"kernels: {chosen}; {torch.get_num_threads()} threads"
    chunking: Any = import_module("samblocks.ops.chunking")
    size = import_module("samblocks.ops.processor_cache").processor_cache()
    cache = f"{size / (1 << 20):g} MB" if size else "not reported"
    yield f"the processor's last cache: {cache}; chunks of {chunking.USUAL.chunk >> 20} MB"
    half_precision: Any = import_module("samblocks.ops.half_precision")
    for dtype in (torch.bfloat16, torch.float16):
        fast = half_precision.has_fast_products(dtype)
        yield f"{dtype}: " + (
            "this processor's own products" if fast else "computed in float32 inside modules"
        )
    for number in range(torch.cuda.device_count()):
        yield f"CUDA {torch.version.cuda}, device {number}: {torch.cuda.get_device_name(number)}"
    if backends.mps.is_available():
        yield "MPS"


def _yardstick() -> Iterator[str]:
    """The kernels of other processors that the tests are run with; the harness has the list, and lies beside us."""
    try:
        personalities: Any = import_module("parity.execution.personalities")
    except ImportError as error:
        yield f"the yardstick cannot be imported: {error}"
        return
    yield "`make processors` runs the tests with these kernels and chunks; seen whole on an Intel Xeon with AVX-512, "
    yield "in part on an AMD EPYC without it:"
    for one in personalities.PERSONALITIES:
        chosen = all(os.environ.get(name) == value for name, value in one.variables.items())
        state = "in this process" if chosen else one.why_not() or "can be computed here"
        variables = " ".join(f"{name}={value}" for name, value in one.variables.items())
        yield f"  {one.name:24} {variables:50} {state}"
