"""References that compute the same thing: the larger of their errors is as honest as the smaller.

Meta writes a norm over channels out step by step, Ultralytics calls the fused kernel. In exact arithmetic both are
the same; in float32 one or the other is more exact, by a factor that depends on the numbers.
"""

from collections.abc import Mapping

from parity.run.goldens import Golden
from parity.verdict.compare import rms

_SAME = 1e-9
"""Relative difference up to which two truths are the same function in exact arithmetic."""

_LARGER = 1.25
"""An error counts where it is larger by at least this factor."""


def errors_of_equivalents(goldens: Mapping[str, Golden], reference: str) -> dict[str, float]:
    """The largest relative error of the other upstreams, by output, where it is larger than this one's own.

    Args:
        goldens: outputs and truths on the same weights and inputs, by reference.
        reference: whose errors are looked at.
    """
    found: dict[str, float] = {}
    own = goldens[reference]
    for path, truth in own.truth.items():
        upstream = own.upstream.get(path)
        size = rms(truth) if truth.is_floating_point() else 0.0
        if not size or upstream is None or upstream.shape != truth.shape:
            continue
        mine = rms(upstream.double() - truth.double()) / size
        for name, other in goldens.items():
            output, other_truth = other.upstream.get(path), other.truth.get(path)
            if name == reference or output is None or other_truth is None:
                continue
            if output.shape != truth.shape or other_truth.shape != truth.shape:
                continue
            theirs = rms(output.double() - truth.double()) / size
            if theirs > max(_LARGER * mine, found.get(path, 0.0)) and (
                rms(other_truth.double() - truth.double()) <= _SAME * size
            ):
                found[path] = theirs
    return found
