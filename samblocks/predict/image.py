"""`ImagePredictor`: a picture once, then clicks, boxes and masks as often as one likes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samblocks.errors import counted
from samblocks.image_size import whole_number
from samblocks.ops.precision import at_least_float32
from samblocks.predict.arguments import flag, number
from samblocks.predict.components import clean_logits
from samblocks.predict.encoded import EncodedPictures
from samblocks.predict.loading import model_of, pretrained
from samblocks.predict.prompts import Numbers, Prompts, as_tensors, read_prompts

Answer = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Masks, predicted qualities and low-resolution logits."""

_CLAMP = 32.0
"""The returned low-resolution logits of SAM 2 are cut to this size; those that masks are made of are not."""


_AREA = "a number of pixels"


class ImagePredictor(EncodedPictures):
    """Masks of a picture for clicks, boxes and earlier masks, by SAM, MobileSAM, SAM 2 or 2.1.

    It answers to both of Meta's predictors, whose names `SamPredictor` and `SAM2ImagePredictor` mean this class:
    methods, arguments, defaults and results are theirs, by the model's family. What they refuse or garble (other
    kinds of pictures, lists as prompts, other image sizes, weights in half precision) works.

    Args:
        sam_model: a model of ours or of Meta's; or the path of a file, or a name, as for `samblocks.load`.
        mask_threshold: logits above it are the mask; 0 means the model's own.
        max_hole_area: fill holes of at most so many low-resolution pixels.
        max_sprinkle_area: remove specks of at most so many.
        **kwargs: `device` and `dtype`, as for `samblocks.load`, where a path or a name is given.

    Raises:
        ValueError: `sam_model` is no such model, or a keyword is none of these.

    Examples:
        >>> import numpy as np
        >>> from samblocks.blocks import TwoWayTransformer
        >>> from samblocks.models import ImageEncoderViT, MaskDecoder, PromptEncoder, SAMModel
        >>> model = SAMModel(ImageEncoderViT(64, embed_dim=32, depth=1, num_heads=2, out_chans=16),
        ...                  PromptEncoder(16, (4, 4), (64, 64), 16, embed_corner_labels=False),
        ...                  MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32))).eval()
        >>> predictor = ImagePredictor(model)
        >>> predictor.set_image(np.zeros((96, 128, 3), np.uint8))
        >>> masks, scores, logits = predictor.predict(point_coords=[[40, 50]], point_labels=[1])
        >>> masks.shape, masks.dtype, scores.shape, logits.shape
        ((3, 96, 128), dtype('bool'), (3,), (3, 16, 16))

    Upstream: facebookresearch/sam2 sam2/sam2_image_predictor.py
    """

    def __init__(
        self,
        sam_model: nn.Module | str | os.PathLike[str],
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.mask_threshold = number(mask_threshold, "mask_threshold")
        self.max_hole_area = number(max_hole_area, "max_hole_area", what=_AREA)
        self.max_sprinkle_area = number(max_sprinkle_area, "max_sprinkle_area", what=_AREA)
        super().__init__(model_of(sam_model, "sam_model", **kwargs))

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> Self:
        """Load a published model and make its predictor.

        Args:
            model_id: a name that `samblocks list` shows, one of Meta's repositories such as
                "facebook/sam2.1-hiera-tiny", or the same with "-hf" for transformers' file.
            **kwargs: the constructor's, `device`, `dtype`, and of Meta's builder `mode` ("eval" or "train") and
                `apply_postprocessing` (False switches the choice of masks by their stability off).

        Returns:
            The predictor.

        Raises:
            CheckpointError: there is no such file, or it cannot be had.
            ValueError: a keyword is none of these.
        """
        model, rest = pretrained(model_id, kwargs)
        return cls(model, **rest)

    def predict(
        self,
        point_coords: Numbers | None = None,
        point_labels: Numbers | None = None,
        box: Numbers | None = None,
        mask_input: Numbers | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Answer:
        """Predict masks of the picture, of the last one where several are set.

        Args:
            point_coords: clicks [N, 2] as (x, y) in the picture's pixels; [B, N, 2] for B prompts at once.
            point_labels: [N] or [B, N]: 1 on the object, 0 on the background; SAM 2 also knows 2 and 3, the corners
                of a box, and both know -1, no point. Any other number is a place of no kind, as in Meta's.
            box: [4] as x0, y0, x1, y1, or [B, 4].
            mask_input: [1, h, w], or [B, 1, h, w]: logits of an earlier answer.
            multimask_output: three masks for each prompt, or one; three suit ambiguous prompts, as one click is.
            return_logits: logits in place of masks.
            normalize_coords: coordinates are pixels; else they are fractions of the picture's sides.

        Returns:
            masks: [C, H, W], [B, C, H, W] for several prompts; bool of SAM, float32 zeros and ones of SAM 2.
            qualities: [C] or [B, C], float32: the predicted intersection over union.
            logits: [C, h, w] or [B, C, h, w], float32, for `mask_input`.

        Raises:
            RuntimeError: there is no picture.
            ValueError: a prompt has another shape, or is not finite.
        """
        self._need_picture()
        return self._answer(
            -1,
            (point_coords, point_labels, box, mask_input),
            multimask_output,
            return_logits,
            normalize_coords,
        )

    def mask_as_input(self, mask: NDArray[Any] | Tensor) -> NDArray[np.float32]:
        """A mask of the picture, drawn or found elsewhere, as `predict` takes it.

        Args:
            mask: [H, W] of the picture's size; what is not 0 is the object.

        Returns:
            Logits [1, h, w] of -10 and 10, for `mask_input`.

        Raises:
            RuntimeError: there is no picture.
            ValueError: the mask has another size.
        """
        self._need_picture()
        if not isinstance(mask, np.ndarray | Tensor):
            raise ValueError(f"mask is a {type(mask).__name__}; it must be an array or a tensor [H, W]")
        on = torch.as_tensor(mask) != 0
        if tuple(on.shape) != self._orig_hw[-1]:
            raise ValueError(f"mask has shape {tuple(on.shape)}; the picture has {self._orig_hw[-1]}")
        share = self._driver.shrink(on[None, None].float().cpu(), self._inside(-1))
        logits: NDArray[np.float32] = (share * 20.0 - 10.0)[0].numpy()
        return logits

    def predict_batch(
        self,
        point_coords_batch: Sequence[Numbers | None] | None = None,
        point_labels_batch: Sequence[Numbers | None] | None = None,
        box_batch: Sequence[Numbers | None] | None = None,
        mask_input_batch: Sequence[Numbers | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[NDArray[Any]], list[NDArray[Any]], list[NDArray[Any]]]:
        """Predict masks of all pictures: `predict` with a list of one entry, or None, for each of them.

        Returns:
            Three lists, of what `predict` returns, with an entry for each picture.

        Raises:
            RuntimeError: there is no picture.
            ValueError: a list has another length than there are pictures; and as for `predict`.
        """
        self._need_picture()
        count = len(self._orig_hw)
        given = {
            "point_coords_batch": point_coords_batch,
            "point_labels_batch": point_labels_batch,
            "box_batch": box_batch,
            "mask_input_batch": mask_input_batch,
        }
        for name, values in given.items():
            if values is not None and (entries := _length(values)) != count:
                raise ValueError(f"{name} has {entries} entries for {counted(count, 'picture')}")
        answers = []
        for index in range(count):
            prompts = tuple(None if values is None else values[index] for values in given.values())
            try:
                answers.append(
                    self._answer(index, prompts, multimask_output, return_logits, normalize_coords)
                )
            except ValueError as error:
                raise ValueError(f"in entry {index} of the batch, {error}") from error
        masks, qualities, logits = (list(one) for one in zip(*answers, strict=True))
        return masks, qualities, logits

    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        img_idx: int = -1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict masks for prompts in the model's own pixels, as `transform` gives them.

        Args:
            point_coords: [B, N, 2], of any floating dtype.
            point_labels: [B, N].
            boxes: [B, 4]; of SAM 2 also [B, 2, 2].
            mask_input: [B, 1, h, w].
            multimask_output: three masks for each prompt, or one.
            return_logits: logits in place of bool masks.
            img_idx: which of the pictures.

        Returns:
            masks [B, C, H, W], predicted qualities [B, C] and logits [B, C, h, w].

        Raises:
            RuntimeError: there is no picture.
        """
        self._need_picture()
        multimask, plain = flag(multimask_output, "multimask_output"), flag(return_logits, "return_logits")
        index = whole_number(img_idx, "img_idx", -len(self._orig_hw), len(self._orig_hw) - 1)
        prompts = as_tensors(point_coords, point_labels, boxes, mask_input)
        logits, qualities, low_res = self._logits(index, prompts, multimask)
        return (logits if plain else logits > self._threshold), qualities, low_res

    def _predict(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """What SAM 2's predictor calls `predict_torch`."""
        return self.predict_torch(*args, **kwargs)

    def _prep_prompts(
        self,
        point_coords: Numbers | None,
        point_labels: Numbers | None,
        box: Numbers | None,
        mask_logits: Numbers | None,
        normalize_coords: bool,
        img_idx: int = -1,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Prompts in the model's pixels: the mask, coordinates, labels and boxes."""
        prompts = self._scaled(img_idx, (point_coords, point_labels, box, mask_logits), normalize_coords)
        coords, labels = prompts.points or (None, None)
        return prompts.masks, coords, labels, prompts.boxes

    @property
    def _threshold(self) -> float:
        return self.mask_threshold or float(getattr(self.model, "mask_threshold", 0.0))

    def _scaled(self, index: int, given: tuple[Any, ...], pixels: bool) -> Prompts:
        dtype = self._driver.reads(next(self.model.parameters()).dtype)
        prompts = read_prompts(*given, dtype=dtype, low_res=self._driver.low_res)
        return self._driver.scale(prompts, self._orig_hw[index], not pixels).to(self.device)

    def _logits(self, index: int, prompts: Prompts, multimask: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the picture's size, predicted qualities, and low-resolution logits to be given back."""
        with torch.no_grad():
            low_res, qualities = self._driver.decode(self._features, index, prompts, multimask)
            cleaned = clean_logits(
                low_res.to(at_least_float32(low_res.dtype)),
                self.max_hole_area,
                self.max_sprinkle_area,
                threshold=self._threshold,
            )
            logits = self._driver.enlarge(cleaned, self._inside(index), self._orig_hw[index])
            if self._driver.squares:
                low_res = low_res.clamp(-_CLAMP, _CLAMP)
        return logits, qualities, low_res

    def _answer(
        self, index: int, given: tuple[Any, ...], multimask: bool, return_logits: bool, pixels: bool
    ) -> Answer:
        several, plain = flag(multimask, "multimask_output"), flag(return_logits, "return_logits")
        prompts = self._scaled(index, given, flag(pixels, "normalize_coords"))
        logits, qualities, low_res = self._logits(index, prompts, several)
        masks = logits if plain else logits > self._threshold
        if self._driver.squares:
            masks = masks.to(logits.dtype)
        batch = len(masks) > 1
        found = [masks, *(one.to(at_least_float32(one.dtype)) for one in (qualities, low_res))]
        masks_, qualities_, low_res_ = ((one if batch else one[0]).cpu().numpy() for one in found)
        return masks_, qualities_, low_res_


def _length(values: Any) -> str | int:
    return len(values) if isinstance(values, Sequence | np.ndarray | Tensor) else "no list of"
