"""Cases of HQ-SAM's mask decoder, small, on maps that are not square."""

from typing import Any

from parity.cases.family import family, row
from parity.cases.mask_decoder import inputs, transformer
from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import Side, Torch, uniform

_DIM, _EARLY = 32, 24


def _decode(side: Side) -> Any:
    """The mask for one answer and the best of several, each summed with SAM's and alone."""
    given = dict(side.inputs)
    early = [given.pop("early")]
    results = {}
    for name, multimask in (("best", True), ("one", False)):
        for kind, alone in (("summed", False), ("alone", True)):
            masks, ious = side.net(
                **given, multimask_output=multimask, hq_token_only=alone, interm_embeddings=early
            )
            results[f"{name}_{kind}"] = {"masks": masks, "ious": ious}
    return results


def _early(height: int = 6, width: int = 4, channels: int = _EARLY) -> dict[str, Any]:
    return {"early": uniform(1, height, width, channels)}


CASES = family(
    block="MaskDecoderHQ",
    kwargs={"transformer_dim": _DIM, "transformer": transformer("TwoWayTransformer"), "vit_dim": _EARLY},
    call=_decode,
    bound64=1e-10,
    known=EPS_DIFFERS,
).of(
    prompts=row(
        "several prompts on one image: the token of its own, the finer map, the best of three masks corrected",
        inputs=inputs() | _early(),
    ),
    other_settings=row(
        "more masks, another activation in SAM's part alone, heads of other depth and width, other early channels",
        {
            "transformer": transformer("TwoWayTransformer", depth=1, attention_downsample_rate=1),
            "num_multimask_outputs": 5,
            "activation": Torch("ReLU"),
            "iou_head_depth": 2,
            "iou_head_hidden_dim": 24,
            "vit_dim": 40,
        },
        inputs() | _early(channels=40),
        known={},
    ),
    one_prompt=row("one prompt, without tokens of its own", inputs=inputs(prompts=1, tokens=0) | _early()),
)
