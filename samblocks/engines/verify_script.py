#!/usr/bin/env python3
"""Repeat what a parity card says about the files beside it. Needs NumPy and the runtime of the files, nothing else.

    python verify.py [FOLDER]

Every graph is run on the inputs that were recorded, and held against what the original gave for them, in float32 and in
float64. R is rms(graph − float64) / rms(original float32 − float64); where it is above 2 in float32, further draws of
the inputs decide, if the card has what the original gave for them. Exit status 0: it still holds; 1: it does not, or a
file is not the one that the card is of, and nothing is run; 2: the card is damaged, a file is missing, or there is no
runtime.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samblocks.numerics.rule import MANY, alarming, decide, factors, geometric_mean

FORMAT = "samblocks card 2"
"""What is read here."""

BOUND = 2.0
"""The largest R of a graph in float32 that holds."""

SLACK = 1.25
"""In lower precisions, how many times the R on the card may be found again on another processor."""


class Damaged(Exception):
    """The card is not what was written, or something is missing."""


class Changed(Exception):
    """A file is not the one that the card is of."""


def digest_of(card: dict[str, Any]) -> str:
    """The hash of a card, without the hash that it holds."""
    body = {key: value for key, value in card.items() if key != "digest"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def read_card(folder: str | Path) -> dict[str, Any]:
    """The card in a folder, which must be whole, as must all files that it names.

    Raises:
        Damaged: the card is not what was written, or a file is missing.
        Changed: a file is not what was written.
    """
    card: Any
    path = Path(folder) / "card.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise Damaged(f"{path} is no JSON: it is damaged") from None
    if not isinstance(card, dict) or not str(card.get("format")).startswith("samblocks card "):
        raise Damaged(f"{path} is no card of samblocks")
    if card["format"] != FORMAT:
        raise Damaged(
            f"{path} is a {card['format']!r}, not a {FORMAT!r}: run the verify.py that lies beside it"
        )
    if card.get("digest") != digest_of(card):
        raise Damaged(f"{path} is damaged: it is not what was written")
    changed = []
    for name, digest in card["files"].items():
        file = path.parent / name
        if Path(name).name != name or not file.is_file():
            raise Damaged(f"{file} is missing")
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            changed.append(f"{file} is damaged: it is not what was written, and is not run")
    if changed:
        raise Changed("\n".join(changed))
    return card


def runner_of(
    card: dict[str, Any], folder: str | Path, graph: dict[str, Any]
) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    """A function from arrays to arrays."""
    path = str(Path(folder) / graph["file"])
    kind, precision = card["kind"], card["precision"]
    try:
        if kind == "openvino":
            import openvino

            options = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
            compiled = openvino.Core().compile_model(path, "CPU", options)
            return lambda arrays: [np.array(x) for x in compiled(arrays).values()]
        if kind == "onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            used = {port.name for port in session.get_inputs()}
            return lambda arrays: session.run(
                None, {name: x for name, x in zip(graph["inputs"], arrays, strict=True) if name in used}
            )
        import torch

        module = torch.export.load(path).module()

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            with torch.no_grad():
                return [x.numpy() for x in module(*map(torch.from_numpy, arrays))]

        return run
    except ImportError as error:
        raise Damaged(f"the runtime of these files is not installed: {error.name}") from None


def rms(x: np.ndarray) -> float:
    """Root mean square in float64."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if x.size else 0.0


def draw_of(array: np.ndarray, place: str, draw: int) -> np.ndarray:
    """An input in a further draw; `place` is where it is among the samples."""
    varied = array.astype(np.float64) * factors(array.shape, f"{place}, draw {draw}")
    return np.asarray(varied.astype(array.dtype))


def ratio_of(found: np.ndarray, truth: np.ndarray, own: float) -> float:
    """R, where `own` is the rms error of the original in float32; of what is not finite, infinity."""
    if not np.isfinite(found).all():
        return float("inf")
    error = rms(found.astype(np.float64) - truth)
    scale = max(own, float(np.finfo(np.float32).eps) / 2 * rms(truth))
    return error / scale if scale else (0.0 if error == 0 else float("inf"))


def figures(
    found: np.ndarray, eager: np.ndarray, truth: np.ndarray, own: float, worst: float
) -> dict[str, Any]:
    """R, the largest difference, and pixels of masks.

    Args:
        found: what the graph gave.
        eager: what the original gave in float32.
        truth: and in float64.
        own: the rms error of the original in float32, the larger of the two ways in which it computes products.
        worst: its largest error.
    """
    epsilon = float(np.finfo(np.float32).eps)
    wide = found.astype(np.float64)
    rounding = BOUND * max(worst, epsilon * float(np.abs(truth).max(initial=0.0)))
    flipped = (found > 0) != (eager > 0)
    beyond = ((found > 0) != (truth > 0)) & (np.abs(truth) > rounding)
    return {
        "ratio": ratio_of(found, truth, own),
        "largest": float(np.abs(wide - eager).max(initial=0.0)),
        "flipped": int(flipped.sum()),
        "beyond": int(beyond.sum()),
        "pixels": int(found.size),
    }


def measure(card: dict[str, Any], folder: str | Path) -> list[dict[str, Any]]:
    """The figures of every output of every graph, by sample."""
    rows: list[dict[str, Any]] = []
    with np.load(Path(folder) / card["samples"], allow_pickle=False) as held:
        for graph in card["graphs"]:
            run = runner_of(card, folder, graph)
            for number in range(graph["samples"]):
                start = f"{graph['name']}/{number}"
                inputs = {name: held[f"{start}/in/{name}"] for name in graph["inputs"]}
                found = dict(zip(graph["outputs"], run(list(inputs.values())), strict=True))
                some = [_row(graph, number, name, output, held) for name, output in found.items()]
                if card["precision"] == "f32":
                    settle(some, lambda draw: _ratios(graph, held, start, run, inputs, draw))  # noqa: B023
                rows += some
    return rows


def _row(graph: dict[str, Any], number: int, name: str, output: np.ndarray, held: Any) -> dict[str, Any]:
    place = f"{graph['name']}/{number}/out/{name}"
    row: dict[str, Any] = {"graph": graph["name"], "sample": number, "output": name, "draws": 1}
    if output.shape != tuple(held[f"{place}/shape"]):
        return {**row, "ratio": float("inf"), "largest": float("inf"), "shape": list(output.shape)}
    some = thinned(output, int(held[f"{place}/step"]))
    own, worst = (float(held[f"{place}/{key}"]) for key in ("own", "worst"))
    row |= figures(some, held[f"{place}/eager"], held[f"{place}/truth"], own, worst)
    if name != "masks":
        for key in ("flipped", "beyond", "pixels"):
            del row[key]
    return row


def thinned(output: np.ndarray, step: int) -> np.ndarray:
    """Every so many of an output's numbers."""
    return np.ascontiguousarray(output).reshape(-1)[::step]


def _ratios(
    graph: dict[str, Any],
    held: Any,
    start: str,
    run: Callable[[list[np.ndarray]], list[np.ndarray]],
    inputs: dict[str, np.ndarray],
    draw: int,
) -> dict[str, float]:
    """R of a further draw, by output; nothing where none is held."""
    if f"{start}/draw/{draw}/{graph['outputs'][0]}/own" not in held:
        return {}
    found = run([draw_of(x, f"{start}/in/{name}", draw) for name, x in inputs.items()])
    ratios = {}
    for name, output in zip(graph["outputs"], found, strict=True):
        place = f"{start}/draw/{draw}/{name}"
        some = thinned(output, int(held[f"{place}/step"]))
        ratios[name] = ratio_of(some, held[f"{place}/truth"], float(held[f"{place}/own"]))
    return ratios


def undecided(row: dict[str, Any]) -> bool:
    """Whether an R is a first alarm that no further draws have settled."""
    return "holds" not in row and alarming(row["ratio"], BOUND)


def settle(rows: list[dict[str, Any]], ratios_of: Callable[[int], dict[str, float]]) -> None:
    """Judge first alarms by further draws: their R becomes the geometric mean, and `first` what it was.

    Args:
        rows: of one sample of one graph.
        ratios_of: R of each output in draw 1, 2, …; empty where there are no more.
    """
    open_rows = {row["output"]: row for row in rows if undecided(row)}
    seen: dict[str, list[float]] = {name: [] for name in open_rows}
    for draw in range(1, MANY + 1):
        found = ratios_of(draw) if open_rows else {}
        if not found:
            return
        for name, row in list(open_rows.items()):
            seen[name].append(found[name])
            holds = decide(seen[name], BOUND) if np.isfinite(found[name]) else False
            if holds is not None:
                mean = geometric_mean(seen[name])
                row |= {"first": row["ratio"], "ratio": mean, "draws": draw, "holds": holds}
                del open_rows[name]


def failures(card: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Sentences on what does not hold."""
    stated = {(row["graph"], row["sample"], row["output"]): row for row in card["rows"]}
    words = []
    for row in rows:
        name = f"{row['graph']} {row['output']} (sample {row['sample']})"
        before = stated[row["graph"], row["sample"], row["output"]]
        bound = BOUND if card["precision"] == "f32" else max(BOUND, SLACK * before["ratio"])
        if "holds" in row and not row["holds"]:
            words.append(
                f"{name}: R is {row['first']:.3g} in the first draw and {row['ratio']:.3g} over {row['draws']} others; "
                f"the card says {before['ratio']:.3g}"
            )
        elif "holds" not in row and not row["ratio"] <= bound:
            words.append(
                f"{name}: R is {row['ratio']:.3g}, at most {bound:.3g} holds; the card says {before['ratio']:.3g}"
            )
        if card["precision"] == "f32" and row.get("beyond"):
            words.append(f"{name}: {row['beyond']} pixels flipped that rounding cannot explain")
    return words


def verify(folder: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """The card, the figures that were found, and what does not hold; raises what `read_card` does."""
    card = read_card(folder)
    rows = measure(card, folder)
    return card, rows, failures(card, rows)


def text(card: dict[str, Any], rows: list[dict[str, Any]], wrong: list[str]) -> str:
    """A table for people."""
    lines = [f"{card['kind']} {card['precision']}, weights {card['weights'][:16]}"]
    for row in rows:
        pixels = f"{row['flipped']} of {row['pixels']} pixels flipped  " if row.get("pixels") else ""
        place = f"{row['graph']} {row['output']}"
        draws = f"over {row['draws']} draws, {row['first']:.3g} in the first" if "first" in row else ""
        lines.append(
            f"{place:34} R {row['ratio']:9.3g}  largest {row['largest']:8.1e}  {pixels}{draws}".rstrip()
        )
    return "\n".join([*lines, *wrong, "it does not hold" if wrong else "it holds"])


def main(arguments: Sequence[str]) -> int:
    """Verify a folder; returns the exit status."""
    folder = arguments[0] if arguments else Path(__file__).parent
    try:
        card, rows, wrong = verify(folder)
    except (Changed, Damaged) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, Changed) else 2
    print(text(card, rows, wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
