"""transformers with the one known difference of its SAM 1 taken away: the proof that there is no other behind it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from parity.references import transformers_sam


class Repaired(transformers_sam.Transformers):
    """transformers' blocks, with Meta's epsilon in the norms of SAM 1's two-way blocks."""

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """See `parity.case.Library`."""
        module = super().construct(block, kwargs)
        for part in module.modules():
            if type(part).__name__ == "SamTwoWayAttentionBlock":
                for norm in part.children():
                    if isinstance(norm, nn.LayerNorm):
                        norm.eps = 1e-5
        return module


def library() -> Repaired:
    """The entry point that a worker calls."""
    transformers_sam.library()
    return Repaired()
