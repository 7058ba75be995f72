"""The public path of `parity.testing.check`."""

from parity.testing.check import Finding, Inputs, Result, check, judge, outputs_of, truth_of

__all__ = ["Finding", "Inputs", "Result", "check", "judge", "outputs_of", "truth_of"]
