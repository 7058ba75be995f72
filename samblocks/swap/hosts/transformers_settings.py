"""What transformers' configurations and calls ask for, and ours does in the same way or refuses."""

from __future__ import annotations

from typing import Any

from samblocks.errors import SwapError
from samblocks.ops.eager_attention import Implementation

IMPLEMENTATIONS: dict[str, Implementation] = {"sdpa": "fused", "eager": "scale_scores"}
"""Our order of operations for transformers' names of attention implementations."""


def refuse(**given: object) -> None:
    """Raise for arguments that ours has nothing for.

    Raises:
        SwapError: one of them is set.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise SwapError(
                f"{name} is not supported by the module that was swapped in: undo the swap for it"
            )


def implementation_of(host: Any, width: int) -> Implementation:
    """The order of operations that the host's configuration names.

    Args:
        host: an attention.
        width: of all its heads together.

    Raises:
        SwapError: it is neither eager nor sdpa, or scores are scaled or masked in a way that ours has nothing for.
    """
    factor = getattr(host, "scaling", getattr(host, "scale", None))
    usual = (width // host.num_attention_heads) ** -0.5
    if factor != usual:
        raise SwapError(f"it scales scores by {factor}, ours by {usual}")
    if host.is_causal:
        raise SwapError("it is causal, ours is not")
    chosen = getattr(getattr(host, "config", None), "_attn_implementation", None)
    if chosen not in IMPLEMENTATIONS:
        raise SwapError(
            f"its attention implementation is {chosen!r}, ours follows {' and '.join(IMPLEMENTATIONS)}"
        )
    return IMPLEMENTATIONS[chosen]


def check_extras(host: Any) -> None:
    """What transformers' encoders do beside encoding would be lost.

    Raises:
        SwapError: such a thing is switched on.
    """
    for name in ("output_hidden_states", "output_attentions"):
        if getattr(host.config, name, False):
            raise SwapError(f"its configuration sets {name}, and ours gives none")
