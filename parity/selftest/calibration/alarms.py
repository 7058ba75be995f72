"""Our outputs under honest variations and other draws, judged as ever: how large R gets, alone and pooled.

A series is one output of one case under one variation against one reference, over the same draws of weights and
inputs. It raises an alarm if the whole rule says so: its first draw and, where that is a first alarm, the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from parity.execution.case import Case
from parity.run.draws import drawn
from parity.run.equivalents import errors_of_equivalents
from parity.run.goldens import Golden
from parity.run.samblocks_library import library
from parity.selftest.calibration.variations import Variation
from parity.workers.client import Client
from samblocks.numerics.draws import settle, undecided
from samblocks.numerics.rule import FEW, MANY, geometric_mean
from samblocks.numerics.verdict import Comparison, Verdict, compare


@dataclass
class Series:
    """One output of one case under one variation against one reference.

    Attributes:
        kind: the variation.
        case: the case's id.
        reference: the reference's name.
        output: the output's path.
        numbers: how many numbers it has.
        bound: largest R of one draw that holds.
        draws: its comparison in each draw, from 0.
    """

    kind: str
    case: str
    reference: str
    output: str
    numbers: int
    bound: float
    draws: list[Comparison] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """R of each draw; equal bits count as 0."""
        return [found.excess or 0.0 for found in self.draws]

    def pooled(self, count: int) -> float | None:
        """The geometric mean of R over the first draws behind draw 0; None where there are fewer."""
        chosen = self.ratios[1 : count + 1]
        return geometric_mean(chosen) if len(chosen) == count else None

    @property
    def first_alarm(self) -> bool:
        """Whether draw 0 alone would raise an alarm."""
        return self.draws[0].verdict.failed

    @property
    def verdict(self) -> Comparison:
        """What the rule makes of all draws."""
        first = self.draws[0]
        if not undecided(first, self.bound):
            return first
        others = [{"": found} for found in self.draws[1:]]
        return settle({"": first}, lambda number: others[number - 1], {"": self.bound})[""]


def series(
    cases: Sequence[Case], clients: Sequence[Client], variations: Sequence[Variation], draws: int = MANY
) -> Iterator[Series]:
    """Every variation of every case over draw 0, which is the case's own, and further ones.

    Args:
        cases: those that are not tuned to their own numbers.
        clients: the references' workers.
        variations: what is varied on our side.
        draws: how many there are beside draw 0.
    """
    for case in cases:
        found: dict[tuple[str, str, str], Series] = {}
        for number in range(draws + 1):
            if not _one_draw(case, clients, variations, number, found):
                break
        yield from found.values()


def _one_draw(
    case: Case,
    clients: Sequence[Client],
    variations: Sequence[Variation],
    number: int,
    found: dict[tuple[str, str, str], Series],
) -> bool:
    """Add one draw to all series of a case; False where it has no other draws."""
    with drawn(case, number, library()) as other:
        if number and other is None:
            return False
        inputs = other.inputs if number and other is not None else case.tensors()
        weights, file = (other.weights, other.file) if number and other is not None else (None, None)
        answers = {}
        for client in clients:
            if client.reference.name in case.known:
                continue
            theirs = client.execute(case, inputs, weights=file)
            truth = client.execute(case, inputs, lift=True, weights=file)
            if theirs.status == truth.status == "ok":
                answers[client.reference.name] = Golden(theirs.outputs, truth.outputs, {})
        for variation in variations:
            if answers and variation.applies(case, inputs):
                ours = variation.run(case, inputs, weights).outputs
                for name, golden in answers.items():
                    honest = errors_of_equivalents(answers, name) if len(answers) > 1 else {}
                    _add(found, case, variation.kind, name, golden, ours, honest)
    return True


def _add(
    found: dict[tuple[str, str, str], Series],
    case: Case,
    kind: str,
    reference: str,
    golden: Golden,
    ours: Mapping[str, Tensor],
    honest: Mapping[str, float],
) -> None:
    for path, theirs in golden.upstream.items():
        key = (kind, reference, path)
        one = found.setdefault(key, Series(kind, case.id, reference, path, theirs.numel(), case.bound))
        one.draws.append(
            compare(
                ours[path],
                theirs,
                golden.truth.get(path),
                bound=case.bound,
                exact=case.exact,
                honest=honest.get(path, 0.0),
            )
            if path in ours
            else Comparison(Verdict.INCOMPARABLE, cause="this output is gone")
        )


__all__ = ["FEW", "MANY", "Series", "series"]
