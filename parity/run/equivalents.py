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
    for name, other in goldens.items():
        for path, truth in own.truth.items():
            if name == reference or path not in other.truth or not truth.is_floating_point():
                continue
            size, outputs = rms(truth), (own.upstream.get(path), other.upstream.get(path))
            if not size or other.truth[path].shape != truth.shape:
                continue
            if any(output is None or output.shape != truth.shape for output in outputs):
                continue
            if rms(other.truth[path].double() - truth.double()) <= _SAME * size:
                theirs = rms(other.upstream[path].double() - truth.double()) / size
                if theirs > _LARGER * rms(own.upstream[path].double() - truth.double()) / size:
                    found[path] = max(found.get(path, 0.0), theirs)
    return found
