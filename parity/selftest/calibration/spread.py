"""How R is distributed over honest variations."""

from collections.abc import Iterator, Sequence

from parity.selftest.calibration.alarms import Sample
from parity.selftest.calibration.variations import AS_IT_IS
from parity.verdict.compare import Verdict

_SHARES = (0.5, 0.95, 0.99)


def table(samples: Sequence[Sample]) -> Iterator[str]:
    """R by kind of variation, and over all: count, outputs bit-equal to upstream's, quantiles, largest."""
    kinds = dict.fromkeys(sample.kind for sample in samples)
    yield (
        f"{'variation':26} {'runs':>5} {'moved':>6} {'outputs':>8} {'equal':>6} "
        f"{'median':>7} {'95 %':>7} {'99 %':>7} {'max':>7}  largest in"
    )
    for kind in kinds:
        yield _line(kind, [sample for sample in samples if sample.kind == kind])
    yield _line("all", samples)


def runs(samples: Sequence[Sample]) -> int:
    """How many variations there were: pairs of a case and a kind. A case run as it is varies nothing."""
    return _pairs([sample for sample in samples if sample.kind != AS_IT_IS.kind])


def _pairs(samples: Sequence[Sample]) -> int:
    return len({(sample.kind, sample.case) for sample in samples})


def _line(kind: str, samples: Sequence[Sample]) -> str:
    rated = sorted(
        (sample for sample in samples if sample.comparison.ratio is not None),
        key=lambda sample: sample.comparison.ratio or 0.0,
    )
    ratios = [sample.comparison.ratio or 0.0 for sample in rated]
    equal = sum(sample.comparison.verdict is Verdict.EXACT for sample in samples)
    moved = len({(sample.kind, sample.case) for sample in samples if sample.moved})
    cuts = [ratios[min(len(ratios) - 1, int(len(ratios) * share))] if ratios else 0.0 for share in _SHARES]
    figures = " ".join(f"{value:7.3f}" for value in (*cuts, ratios[-1] if ratios else 0.0))
    largest = f"{rated[-1].case} {rated[-1].output} ({rated[-1].reference})" if rated else ""
    return f"{kind:26} {_pairs(samples):5} {moved:6} {len(samples):8} {equal:6} {figures}  {largest}"
