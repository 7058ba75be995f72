"""Our blocks inside other people's pipelines.

| file | what is in it |
|---|---|
| `catalog` | which classes of other libraries have a counterpart here, by name |
| `hosts` | from a host's module to ours without values |
| `adopt` | ours takes over the host's layers, parameters and buffers |
| `numerics` | ours takes the host's order of operations |
| `obstacles` | what stands against a swap |
| `match`, `apply` | walking a model, exchanging modules |
| `kin` | rotary attention that its host still recognizes |
| `report`, `verify` | what was done, the way back, the verdict on results |
"""

from samblocks.swap.apply import swap_blocks
from samblocks.swap.report import SwapReport, SwapRow

__all__ = ["SwapReport", "SwapRow", "swap_blocks"]
