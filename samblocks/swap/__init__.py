"""Our blocks inside other people's pipelines.

The files in the order in which a swap goes through them:

| file | what is in it |
|---|---|
| `apply` | `swap_blocks` |
| `match` | walking a model: which modules are exchanged, and for what |
| `obstacles` | what stands against exchanging one |
| `catalog` | which classes of other libraries have a counterpart here, by name |
| `known_code`, `code_digest`, `code_form` | whether a class is the code that was proven, or a fork's |
| `hosts` | from a host's module to ours without values |
| `adopt` | ours takes over the host's layers, parameters and buffers |
| `operation_order` | ours takes the host's order of operations |
| `state_names` | its state dict keeps the host's names |
| `host_types`, `aliases` | where hosts ask for their own class, ours derives from it, with submodules under its names |
| `recording` | transformers' hooks for hidden states and attention weights |
| `report` | what was done, putting ours in, and the way back |
| `verify`, `float64` | the verdict on results |
| `short_drive`, `watching` | what it runs where nothing else is given, and which modules that reached |
"""

from samblocks.swap.apply import swap_blocks
from samblocks.swap.report import SwapReport, SwapRow

__all__ = ["SwapReport", "SwapRow", "swap_blocks"]
