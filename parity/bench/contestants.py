"""Who runs a row: a library's code in an engine and a precision, in the environment that has both."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.bench.rows import Row
from parity.bench.works import Loop
from parity.run.samblocks_library import SELF
from parity.workers.client import interpreter, missing_environment
from parity.workers.registry import REFERENCES

OURS = SELF.name
"""The library whose eager code every ratio is against."""

SINGLE, LOW = "float32", "bfloat16"


@dataclass(frozen=True)
class Engine:
    """What runs a library's code.

    Attributes:
        module: has `ready(converted, inputs, threads)`, or, where nothing is converted, `ready(work, inputs, threads)`;
            see `parity.bench.serve`.
        converts: its module also has `convert(module, inputs, folder)`, done once in a process of its own.
        graphs_only: it takes graphs, not calls that Python drives.
        environment: where it is found; None: wherever the library is.
        lacking: what is missing on this machine, in a sentence; empty where nothing is.
    """

    module: str
    converts: bool = False
    graphs_only: bool = False
    environment: str | None = None
    lacking: Callable[[], str] = str


def _compiler() -> str:
    named = os.environ.get("CXX")
    found = any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"]))
    return "" if found else "needs a C++ compiler, such as Debian's package g++"


ENGINES: Mapping[str, Engine] = {
    "eager": Engine("parity.bench.engines.eager"),
    "compile": Engine("parity.bench.engines.compiled", graphs_only=True, lacking=_compiler),
    "vos_optimized": Engine("parity.references.bench.vos_optimized", lacking=_compiler),
    "openvino": Engine(
        "parity.references.bench.openvino_engine", converts=True, graphs_only=True, environment="peers"
    ),
    "onnxruntime": Engine(
        "parity.references.bench.onnxruntime_engine", converts=True, graphs_only=True, environment="peers"
    ),
}
"""By name. Engines of other projects are reached by name only: their modules import what the environment has."""


@dataclass(frozen=True)
class Contestant:
    """One side of a comparison.

    Attributes:
        peer: what `--peer` calls it; `samblocks` is always there.
        library: whose code it is.
        engine: what runs it; see `ENGINES`.
        precision: "float32" or "bfloat16".
    """

    peer: str
    library: str
    engine: str = "eager"
    precision: str = SINGLE

    @property
    def name(self) -> str:
        """What reports call it."""
        parts = [self.library, self.engine if self.engine != "eager" else "", self.precision]
        return " ".join(part for part in parts if part and part != SINGLE)

    @property
    def environment(self) -> str:
        """The environment that its process runs in: "own", "references" or "peers"."""
        return ENGINES[self.engine].environment or ("own" if self.library == OURS else "references")

    @property
    def yardstick(self) -> bool:
        """Whether it is what others are measured by: our eager code."""
        return self.library == OURS and self.engine == "eager"

    def refuses(self, row: Row, device: str) -> str:
        """Why it does not run a row there, in a sentence; empty where it may."""
        engine = ENGINES[self.engine]
        if engine.converts and device != "cpu":
            return f"it is a peer on the processor, not on {device}"
        if engine.graphs_only and isinstance(row.work, Loop):
            return "Python drives it from call to call: there is no one graph to convert"
        if (
            self.engine == "vos_optimized"
            and row.group not in ("video", "everything")
            and "hiera" not in row.name
        ):
            return "it optimizes SAM 2's video predictor alone"
        return engine.lacking()


CONTESTANTS: tuple[Contestant, ...] = (
    Contestant(OURS, OURS),
    Contestant(OURS, OURS, precision=LOW),
    Contestant("meta", "meta"),
    Contestant("ultralytics", "ultralytics"),
    Contestant("transformers", "transformers"),
    Contestant("openvino", "meta", "openvino"),
    Contestant("openvino", "meta", "openvino", LOW),
    Contestant("openvino", OURS, "openvino"),
    Contestant("openvino", OURS, "openvino", LOW),
    Contestant("onnxruntime", "meta", "onnxruntime"),
    Contestant("onnxruntime", OURS, "onnxruntime"),
    Contestant("compile", "meta", "compile"),
    Contestant("compile", OURS, "compile"),
    Contestant("vos_optimized", "meta", "vos_optimized"),
)
"""Everyone, in the order of reports: ours, upstream's code, and runtimes with upstream's and with our code inside."""

PEERS = tuple(dict.fromkeys(one.peer for one in CONTESTANTS if one.peer != OURS))
"""What `--peer` can name."""

USUAL = tuple(peer for peer in PEERS if peer != "vos_optimized")
"""The peers of a run that names none: the last one's settings are meant for CUDA, and compile for many minutes."""


def chosen(peers: Sequence[str]) -> list[Contestant]:
    """Ours, in every precision that a chosen peer has, and the peers' own."""
    theirs = [one for one in CONTESTANTS if one.peer in peers]
    precisions = {SINGLE, *(one.precision for one in theirs)}
    return [one for one in CONTESTANTS if one.peer == OURS and one.precision in precisions] + theirs


def python_of(environment: str, references: Path | None, peers: Path | None) -> Path | str:
    """An environment's interpreter, or the sentence that says how to get the environment."""
    if environment == "own":
        return Path(sys.executable)
    if environment == "references":
        return interpreter(references) or missing_environment()
    found = interpreter(peers, variable="SAMBLOCKS_PEERS", usual=".peers")
    return found or "the peers' environment is missing: make peers"


def library_module(name: str) -> str:
    """The module whose `library()` speaks to a library."""
    return SELF.module if name == OURS else REFERENCES[name].module
