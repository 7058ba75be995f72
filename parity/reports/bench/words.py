"""An entry of a bench in words and numbers, described once for all its formats."""

from collections.abc import Mapping

from parity.bench.contestants import SINGLE, Contestant
from parity.bench.report import Entry, Figure, Report

LABELS: Mapping[str, str] = {
    "samblocks": "samblocks",
    "meta": "Meta",
    "ultralytics": "Ultralytics",
    "transformers": "transformers",
}
_ENGINES: Mapping[str, str] = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "compile": "torch.compile",
    "vos_optimized": "vos_optimized",
}
_PRECISIONS: Mapping[str, str] = {"float32": "f32", "bfloat16": "bf16"}

MANNER = (
    "A ratio is the processor time of a peer (on other devices the time by the clock) by that of our eager code in the "
    "same precision, round by round: above 1 ours is faster. Runtimes are given Meta's code, converted; where "
    "samblocks is named with a runtime, it is our code in it."
)


def label(one: Contestant) -> str:
    """Who it is: whose code, in which runtime, in which precision."""
    runtime = "" if one.engine == "eager" else f" in {_ENGINES[one.engine]}"
    return f"{LABELS[one.library]}{runtime}, {_PRECISIONS[one.precision]}"


def column(one: Contestant) -> str:
    """The same for a column of upstream's code: a runtime stands for Meta's code in it."""
    name = LABELS[one.library] if one.engine == "eager" else _ENGINES[one.engine]
    return name if one.precision == SINGLE else f"{name} {_PRECISIONS[one.precision]}"


def seconds(value: float) -> str:
    """Three digits that count, in seconds or milliseconds."""
    if value >= 1:
        return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"
    return f"{1e3 * value:.3g} ms"


def spread(figure: Figure | None) -> str:
    """A time with its spread."""
    if figure is None:
        return ""
    return f"{seconds(figure.median)} ({seconds(figure.low)} to {seconds(figure.high)})"


def ratio(figure: Figure | None) -> str:
    """A ratio with its spread."""
    return "" if figure is None else f"{figure.median:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def size(value: float) -> str:
    """Bytes in a unit that people read."""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def share(value: float | None) -> str:
    """Per cent."""
    return "" if value is None else f"{100 * value:.0f} %"


def error(value: float | None) -> str:
    """A relative error."""
    return "" if value is None else f"{value:.1e}"


def not_run(entry: Entry) -> str:
    """Why there are no figures."""
    return f"NOT RUN: {' '.join(entry.reason.split())}".replace("|", "/")


def header(report: Report) -> str:
    """One sentence on date, machine and manner."""
    at = report.environment
    threads = " and ".join(map(str, at["threads"]))
    where = "" if at["device"] == "cpu" else f", {at['device']}"
    return (
        f"{at['date']}, {at['cores']} cores of {at['machine']}{where} "
        f"(load average {at['load_average']} at the start), torch {at['torch']}, Python {at['python']}, "
        f"images of {at['size']}, {threads} thread(s) a side, "
        f"median of {at['rounds']} round(s) in turn"
    )
