"""The public path of `parity.execution.fill`."""

from parity.execution.fill import fill_, integers, state, tensor, uniform, values, widened

__all__ = ["fill_", "integers", "state", "tensor", "uniform", "values", "widened"]
