"""Reading other libraries' modules: from a module's attributes and shapes to our counterpart without values.

| file | whose modules |
|---|---|
| `reading` | what all readers share |
| `blocks`, `models`, `tiny_vit` | Ultralytics, segment_anything and sam2, whose attributes have the same names |
"""

from samblocks.swap.hosts import blocks, models, tiny_vit
from samblocks.swap.hosts.reading import READERS, read

__all__ = ["READERS", "blocks", "models", "read", "tiny_vit"]
