"""What `parity diverge` can look at: any case with a module, and any released model at a small size."""

import re
from collections.abc import Callable
from typing import Any

from parity.cases import all_cases
from parity.cases.drive import Step, pictures, tracked
from parity.errors import UsageError
from parity.execution.case import Case, Side, Spec, literal

_ID = re.compile(r"(?P<what>variant|encoder)/(?P<variant>[\w.]+)@(?P<size>\d+)")
_SCRIPT = (Step(0, "points"), Step(1))


def find(subject: str) -> Case:
    """The case with this id; `variant/NAME@SIZE` names a released model at an image size, `encoder/NAME@SIZE`
    its image encoder alone.

    Raises:
        UsageError: there is none.
    """
    if found := _ID.fullmatch(subject):
        return _model(found["variant"], int(found["size"]), only_image=found["what"] == "encoder")
    if subject not in all_cases():
        raise UsageError(f"no case is called {subject!r}; `parity cases` lists them")
    return all_cases()[subject]


def of_block(block: str) -> list[Case]:
    """The cases of a block, in their order.

    Raises:
        UsageError: no case is about it, or it is a function.
    """
    cases = [case for case in all_cases().values() if case.block == block]
    if not cases:
        known = ", ".join(sorted({case.block for case in all_cases().values()}))
        raise UsageError(f"no case is about {block!r}; there are cases for {known}")
    cases = [case for case in cases if not case.is_function]
    if not cases:
        raise UsageError(f"{block} is a function: there are no modules to look into")
    return cases


def default_size(variant: str) -> int:
    """The image side at which a whole model still runs in seconds."""
    return 256 if variant.startswith("sam2") else 512


def _model(variant: str, size: int, only_image: bool) -> Case:
    second = variant.startswith("sam2")
    inputs: dict[str, Spec] = {"frames": pictures(2 if second and not only_image else 1, 3, size, size)}
    if not only_image:
        points = [[[0.3, 0.4], [0.7, 0.6]], [[0.6, 0.3], [0.2, 0.8]]]
        inputs["points"] = literal([[[x * size, y * size] for x, y in pair] for pair in points])
        inputs["points_labels"] = literal([[1, 0], [1, 1]])
    call: Callable[[Side], Any] = _track if second else _segment
    return Case(
        block="encoder" if only_image else "variant",
        name=f"{variant}@{size}",
        why="a released model, from the image to the mask, and for SAM 2 to the next frame",
        variant=variant,
        # Against Ultralytics too, 2.0 is run as its weights were trained.
        kwargs={"add_tpos_enc_to_obj_ptrs": False} if variant.startswith("sam2_") else {},
        image_size=size,
        inputs=inputs,
        call=_encode if only_image else call,
    )


def _encode(side: Side) -> Any:
    """The image encoder on one image; the rest of the model is not called."""
    return side.net.image_encoder(side.inputs["frames"])


def _track(side: Side) -> Any:
    return tracked(side, _SCRIPT)


def _segment(side: Side) -> Any:
    """SAM 1: one image, two prompts of two points each."""
    net = side.net
    embedding = net.image_encoder(side.inputs["frames"])
    points = (side.inputs["points"], side.inputs["points_labels"])
    sparse, dense = net.prompt_encoder(points=points, boxes=None, masks=None)
    return net.mask_decoder(
        image_embeddings=embedding,
        image_pe=net.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
