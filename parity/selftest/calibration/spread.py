"""How R is distributed over honest variations: of one draw, and pooled over 8 and 16 others."""

from collections.abc import Iterator, Sequence

from parity.selftest.calibration.alarms import FEW, MANY, Series

_SHARES = (0.5, 0.99)


def table(found: Sequence[Series]) -> Iterator[str]:
    """By kind of variation, and over all: series, single R, pooled R, first alarms and alarms."""
    yield (
        f"{'variation':26} {'series':>6} {'draws':>7} {'median':>7} {'99 %':>7} {'max':>7} {'> bound':>7} "
        f"{f'max/{FEW}':>7} {f'max/{MANY}':>7} {'first':>6} {'alarms':>6}  largest of {FEW} in"
    )
    for kind in dict.fromkeys(one.kind for one in found):
        yield _line(kind, [one for one in found if one.kind == kind])
    yield _line("all", found)


def _line(kind: str, found: Sequence[Series]) -> str:
    singles = sorted(ratio for one in found for ratio in one.ratios)
    cuts = [
        singles[min(len(singles) - 1, int(len(singles) * share))] if singles else 0.0 for share in _SHARES
    ]
    above = sum(ratio > one.bound for one in found for ratio in one.ratios)
    pooled = {count: [(one.pooled(count) or 0.0, one) for one in found] for count in (FEW, MANY)}
    largest = {count: max((mean for mean, _ in means), default=0.0) for count, means in pooled.items()}
    where = max(pooled[FEW], key=lambda entry: entry[0], default=(0.0, None))[1]
    named = "" if where is None else f"{where.case} {where.output} ({where.reference})"
    return (
        f"{kind:26} {len(found):6} {len(singles):7} {cuts[0]:7.3f} {cuts[1]:7.3f} "
        f"{singles[-1] if singles else 0.0:7.3f} {above:7} {largest[FEW]:7.3f} {largest[MANY]:7.3f} "
        f"{sum(one.first_alarm for one in found):6} {sum(one.verdict.verdict.failed for one in found):6}  {named}"
    )
