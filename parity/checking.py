"""The public path of `parity.testing.check`."""

from parity.errors import UsageError
from parity.testing.check import check, outputs_of, truth_of
from parity.testing.judge import Finding, Result, judge
from parity.testing.values import Inputs

__all__ = ["Finding", "Inputs", "Result", "UsageError", "check", "judge", "outputs_of", "truth_of"]
