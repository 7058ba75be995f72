"""One driver, measured: masks, bits, R, time and memory, before, during and after a swap."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.bench.memory import measured
from parity.execution.large_cases import give_back
from parity.references.hosts.driver import Driver, Result, Session
from samblocks.swap import SwapReport, swap_blocks
from samblocks.swap.catalog import counterpart
from samblocks.swap.known_code import Trust

FOREGROUND = (0.05, 0.95)
MASKS = 10


class HostFails(Exception):
    """The host's own modules do not run so: there is nothing to compare with."""


def measure(
    driver: Driver, size: int, repeats: int, trust: Trust = "code", *, autocast: bool = False
) -> dict[str, Any]:
    """Run a driver on the host's modules, on ours and on the host's again.

    Args:
        driver: the driver.
        size: side of the model's images in pixels.
        repeats: how often each side is timed, in turn.
        trust: what classes are known by.
        autocast: run everything under autocast to bfloat16.

    Returns:
        What was found, as plain data; `failures` says in words what did not hold.

    Raises:
        HostFails: the host does not run under autocast.
    """
    with tempfile.TemporaryDirectory(prefix="parity-swap-") as folder, torch.inference_mode():
        session = driver.make(size, Path(folder))
        if autocast:
            session = replace(session, run=_autocast(session.run), probe=_autocast(session.probe))
        return _measure(session, repeats, trust, autocast=autocast)


def _autocast(call: Callable[..., Any]) -> Callable[..., Any]:
    def under(*args: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return call(*args)

    return under


def _measure(session: Session, repeats: int, trust: Trust, *, autocast: bool) -> dict[str, Any]:
    failures: list[str] = []
    model = _module(session.model)
    before = dict(model.named_modules(remove_duplicate=False))
    names = _state(model)
    kinds = {type(part) for part in model.modules() if part is not model and counterpart(part) is not None}
    counts = _instances(model, kinds)
    try:
        host = session.run()
    except RuntimeError as error:
        if not autocast:
            raise
        raise HostFails(f"the host itself fails under autocast: {str(error).splitlines()[0]}") from error
    threshold = None if host.masks.dtype == torch.bool else float(host.masks.median())
    masks = _masks(host, threshold)
    foreground = float(masks.float().mean())
    if len(masks) < MASKS or not FOREGROUND[0] <= foreground <= FOREGROUND[1]:
        failures.append(f"blind: {len(masks)} masks, foreground {foreground:.0%}")

    report = swap_blocks(session.model, trust=trust)
    if not report.swapped:
        failures.append("nothing was swapped")
    lost = {kind.__name__ for kind, count in _instances(model, kinds).items() if count != counts[kind]}
    if lost:
        failures.append(f"isinstance finds other numbers of {', '.join(sorted(lost))}")
    if not _same_state(names, _state(model)):
        failures.append("the state dict has other names, another order or other tensors")
    ours = session.run()
    if _dtypes(host) != _dtypes(ours):
        failures.append(f"dtypes are {_dtypes(ours)}, not {_dtypes(host)}")
    flips = _flips(host, ours, threshold, failures, coarse=autocast)
    with torch.inference_mode(mode=False):
        verification = report.verify(*session.inputs, run=session.probe)
    if not verification.holds:
        failures.append(f"verify: {verification.verdict}")

    seconds, peaks = _in_turn(report, session.run, repeats)
    report.undo()
    after = dict(model.named_modules(remove_duplicate=False))
    if before.keys() != after.keys() or any(after[path] is not module for path, module in before.items()):
        failures.append("undo did not bring back the same modules")
    if not _equal(host, session.run()):
        failures.append("results differ after undo")
    return {
        "swapped": [row.as_dict() for row in report.swapped],
        "kept": [row.as_dict() for row in report.kept],
        "masks": len(masks),
        "foreground": foreground,
        "threshold": threshold,
        **flips,
        "verification": verification.to_dict(),
        "ratio": verification.ratio,
        "seconds": seconds,
        "peak": peaks,
        "speed": _ratio(seconds),
        "memory": _ratio(peaks),
        "failures": failures,
    }


def _instances(model: nn.Module, kinds: Iterable[type]) -> dict[type, int]:
    """How many modules of each of the host's classes `isinstance` finds."""
    return {kind: sum(isinstance(part, kind) for part in model.modules()) for kind in kinds}


def _module(model: Any) -> nn.Module:
    """The module that a swap finds in a predictor."""
    found: nn.Module = swap_blocks(model, dry_run=True).model
    return found


def _masks(result: Result, threshold: float | None) -> Tensor:
    return result.masks if threshold is None else result.masks > threshold


def _dtypes(result: Result) -> list[str]:
    return [str(tensor.dtype).removeprefix("torch.") for tensor in (result.masks, *result.numbers)]


def _flips(
    host: Result, ours: Result, threshold: float | None, failures: list[str], *, coarse: bool = False
) -> dict[str, Any]:
    """How many pixels changed sides, and whether each of them lies within the difference of the logits.

    How large that is the verdict in float64 says where both sides round coarsely.
    """
    if host.masks.shape != ours.masks.shape:
        failures.append(f"{len(ours.masks)} masks after the swap, {len(host.masks)} before")
        return {"bits": False, "flipped": None, "difference": None}
    flipped = _masks(host, threshold) != _masks(ours, threshold)
    difference = None
    logits, others = (_distances(result, threshold) for result in (host, ours))
    if threshold is None and any(_undecided(result) for result in (host, ours)):
        failures.append("the recorded logits are not those that the masks follow from")
    if logits is None or others is None:
        if bool(flipped.any()) and not coarse:
            failures.append("pixels flipped, and the driver gives no logits to judge them by")
    else:
        difference = float((logits - others).abs().max())
        scale = float(logits.abs().max())
        if (not coarse and difference > 1e-4 * scale) or bool((logits.abs()[flipped] > difference).any()):
            failures.append(f"logits differ by {difference:.1e} of {scale:.1e}")
    return {"bits": _equal(host, ours), "flipped": int(flipped.sum()), "difference": difference}


def _distances(result: Result, threshold: float | None) -> Tensor | None:
    """How far each pixel is from changing sides, in float64."""
    if threshold is not None:
        return result.masks.double() - threshold
    return None if result.logits is None else result.logits.double()


def _undecided(result: Result) -> bool:
    """Whether a mask says other than its logits."""
    if result.logits is None:
        return False
    if result.logits.shape != result.masks.shape:
        return True
    return bool((result.masks & (result.logits < 0) | ~result.masks & (result.logits > 0)).any())


def _equal(a: Result, b: Result) -> bool:
    pairs = zip((a.masks, *a.numbers), (b.masks, *b.numbers), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def _in_turn(
    report: SwapReport, run: Callable[[], object], repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and bytes of both sides, one run each in turn, so that a busy machine slows both alike."""
    seconds: dict[str, list[float]] = {"host": [], "ours": []}
    peaks: dict[str, list[float]] = {"host": [], "ours": []}
    for turn in range(2 * repeats):
        # The order changes from pair to pair: neither side always comes second.
        side = ("host", "ours")[(turn + turn // 2) % 2]
        report.undo() if side == "host" else report.apply()
        give_back()  # so that the next peak is its own
        time.sleep(0.05)
        found = measured(run)
        seconds[side].append(found["seconds"])
        peaks[side].append(found["peak"])
    report.apply()
    return seconds, peaks


def _ratio(sides: Mapping[str, Sequence[float]]) -> float | None:
    """The host's median over ours: above 1 where ours takes less."""
    if not sides["host"]:
        return None
    ours = statistics.median(sides["ours"])
    return statistics.median(sides["host"]) / ours if ours > 0 else None


def _state(model: nn.Module) -> list[tuple[str, Tensor]]:
    return list(model.state_dict(keep_vars=True).items())


def _same_state(a: list[tuple[str, Tensor]], b: list[tuple[str, Tensor]]) -> bool:
    return len(a) == len(b) and all(
        x == y and tensor is other for (x, tensor), (y, other) in zip(a, b, strict=True)
    )
