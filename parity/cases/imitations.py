"""What other libraries do otherwise, done by ours: then the ordinary rule judges whether a known cause is the only one.

Each makes of a case the one that our side runs in its place; the reference runs it as it is written down.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from parity.cases.calls import Call
from parity.execution.case import Case, Side

Imitation = Callable[[Case], Case]


def arguments(**kwargs: Any) -> Imitation:
    """Construct ours with these arguments."""
    return lambda case: replace(case, kwargs={**case.kwargs, **kwargs})


def instead(call: Call) -> Imitation:
    """Call ours in another way."""
    return lambda case: replace(case, call=call)


def during(*changes: Callable[[Side], AbstractContextManager[Any]]) -> Imitation:
    """Call ours while it is changed."""

    def imitation(case: Case) -> Case:
        def call(side: Side) -> Any:
            with ExitStack() as stack:
                for change in changes:
                    stack.enter_context(change(side))
                return case.call(side)

        return replace(case, call=call)

    return imitation


def norms_of_blocks(eps: float) -> Callable[[Side], AbstractContextManager[None]]:
    """The norms of SAM 1's two-way blocks, with another epsilon."""

    @contextmanager
    def changed(side: Side) -> Iterator[None]:
        norms = [
            norm
            for block in side.net.modules()
            if type(block).__name__ == "TwoWayAttentionBlock"
            for norm in block.children()
            if type(norm).__name__ == "LayerNorm"
        ]
        before = [norm.eps for norm in norms]
        for norm in norms:
            norm.eps = eps
        try:
            yield
        finally:
            for norm, value in zip(norms, before, strict=True):
                norm.eps = value

    return changed


def without_earlier_masks(side: Side) -> AbstractContextManager[None]:
    """The prompt encoder is given no mask."""
    return _removed(
        side.net.sam_prompt_encoder.register_forward_pre_hook(
            lambda module, args, given: (args, {**given, "masks": None}), with_kwargs=True
        )
    )


@contextmanager
def pointer_of_the_best(side: Side) -> Iterator[None]:
    """Where a mask prompts, the pointer is that of the best of three masks; parts are recorded as ever."""
    net = side.net
    run = net._forward_sam_heads

    def heads(**given: Any) -> Any:
        found = run(**given)
        if "point_inputs" in given:
            return found
        with (
            mock.patch.dict(net.sam_prompt_encoder._forward_hooks, clear=True),
            mock.patch.dict(net.sam_mask_decoder._forward_hooks, clear=True),
        ):
            best = run(**given, multimask_output=True)
        return (*found[:5], best[5], found[6])

    with mock.patch.object(net, "_forward_sam_heads", heads):
        yield


@contextmanager
def masks_before_the_transformer(side: Side) -> Iterator[None]:
    """HQ-SAM's decoder enlarges what its transformer is given, rows and columns exchanged, and gives all three sums."""
    decoder = getattr(side.net, "mask_decoder", side.net)
    forward, decode = decoder.forward, decoder._decode_all
    seen: list[tuple[Tensor, ...]] = []

    def decode_all(
        how: Any, tokens: Tensor, looked: Any, images: Tensor, places: Tensor, dense: Tensor, fine: Tensor
    ) -> Any:
        given = (images + dense).transpose(2, 3).reshape(images.shape)
        with _removed(decoder.output_upscaling.register_forward_pre_hook(lambda module, args: (given,))):
            seen.append(decode(how, tokens, looked, images, places, dense, fine))
        return seen[-1]

    def all_three(*, multimask_output: bool, hq_token_only: bool, **given: Any) -> Any:
        seen.clear()
        found = forward(multimask_output=multimask_output, hq_token_only=hq_token_only, **given)
        if not multimask_output:
            return found
        masks, ious, sharper = (torch.cat(parts) for parts in zip(*seen, strict=True))
        ious, order = ious[:, 1:].sort(dim=1, descending=True)
        masks = masks[torch.arange(len(masks))[:, None], 1 + order]
        return (sharper if hq_token_only else masks + sharper), ious

    with (
        mock.patch.object(decoder, "_decode_all", decode_all),
        mock.patch.object(decoder, "forward", all_three),
    ):
        yield


@contextmanager
def _removed(hook: Any) -> Iterator[None]:
    """A hook while the context lasts."""
    try:
        yield
    finally:
        hook.remove()
