"""How large upstream's own error is when it is varied honestly: the second term of the floor of R.

The error of three numbers is a matter of luck: upstream's may happen to be a tenth of what it usually is, and an
honest error of the usual size then has R = 10. And a kernel for another memory layout may round twice as much, in
upstream's code as in ours. So upstream is varied:

- outputs of few numbers, and gradients of inputs: its largest error over runs with other weights and inputs;
- outputs of any size whose case takes maps: its error with these in channels-last memory;
- where two upstreams compute the same in exact arithmetic: the error of the other one.

The largest of these, relative to the rms of the truth, is the envelope. Nothing of ours takes part in it, so that
no bug of ours can raise it. `python -m parity calibrate --measure` writes the figures anew.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("envelopes.json")

FEW = 128
"""Outputs of fewer numbers are measured over other weights and inputs. The rms of n equal errors varies by
1 / √(2 n), but errors are not equal: a norm over few channels magnifies one token's, and 72 numbers were seen to
count like a handful."""

OF_INPUTS = "input/"
"""How the names of gradients of inputs begin. They count as few however many they are: through a softmax a gradient
is a difference of nearly equal numbers, and most of the error of 768 sits in the tokens where they are most equal."""

Envelopes = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Relative error by reference, case and output."""


def envelope(reference: str, case_id: str, output: str) -> float:
    """Upstream's relative error in this output in float32, varied honestly; 0 where it was not measured."""
    return _kept().get(reference, {}).get(case_id, {}).get(output, 0.0)


def write(found: Envelopes, file: Path = FILE) -> None:
    """Keep measured envelopes, three digits each, beside those of cases that were not measured this time."""
    earlier: Envelopes = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rounded = {
        reference: {
            case: {output: float(f"{value:.2e}") for output, value in sorted(outputs.items())}
            for case, outputs in sorted({**earlier.get(reference, {}), **found.get(reference, {})}.items())
            if outputs
        }
        for reference in sorted({*earlier, *found})
    }
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)
    _kept.cache_clear()


@cache
def _kept() -> Envelopes:
    if not FILE.exists():
        return {}
    found: Envelopes = json.loads(FILE.read_text(encoding="utf-8"))
    return found
