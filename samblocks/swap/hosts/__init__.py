"""Reading other libraries' modules: from a module's attributes and shapes to our counterpart without values.

| file | whose modules |
|---|---|
| `reading` | what all readers share |
| `blocks`, `models`, `tiny_vit` | Ultralytics, segment_anything and sam2, whose attributes have the same names |
| `transformers_blocks`, `_vision`, `_decoders`, `_memory` | transformers, whose calls and names differ |
| `transformers_names` | its names, from the layout tables |
| `transformers_settings` | what its configurations ask for |
"""

from samblocks.swap.hosts import (
    blocks,
    models,
    tiny_vit,
    transformers_blocks,
    transformers_decoders,
    transformers_memory,
    transformers_vision,
)
from samblocks.swap.hosts.reading import READERS, read
from samblocks.swap.hosts.transformers_names import names_of

__all__ = [
    "READERS",
    "blocks",
    "models",
    "names_of",
    "read",
    "tiny_vit",
    "transformers_blocks",
    "transformers_decoders",
    "transformers_memory",
    "transformers_vision",
]
