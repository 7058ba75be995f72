"""The mask decoder of SAM 2: SAM 1's, and an object's presence, finer maps and a choice of masks."""

from functools import partial

import torch
from torch import Tensor, nn

from samblocks.blocks import MLP
from samblocks.blocks.arguments import checks_arguments
from samblocks.models.decoder_parts import (
    Plan,
    arrange,
    check_dim,
    for_prompts,
    head_of,
    look,
    make_hypernetworks,
    make_masks,
    make_upscaling,
    plan,
    transform,
    with_learned,
)
from samblocks.ops.chunking import items_at_once, items_in_chunks
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear


@checks_arguments(C="transformer_dim")
@computes_half_in_float32
class SAM2MaskDecoder(nn.Module):
    """The mask decoder of SAM 2: `MaskDecoder`, and an object's presence, finer maps and a choice of masks.

    The masks and IoUs are those of SAM 1's decoder. What is new is optional, by the flags below.

    `dynamic_multimask_via_stability` acts outside training where one mask is asked for: if mask 0 changes
    much when its threshold moves by `dynamic_multimask_stability_delta` either way, the mask of the others
    with the highest predicted IoU is given in its place.

    Args:
        transformer_dim: as in `MaskDecoder`.
        transformer: as in `MaskDecoder`; `SAM2TwoWayTransformer` in the released models.
        num_multimask_outputs: as in `MaskDecoder`.
        activation: as in `MaskDecoder`.
        iou_head_depth: as in `MaskDecoder`.
        iou_head_hidden_dim: as in `MaskDecoder`.
        use_high_res_features: whether the image encoder's finer maps are added while enlarging. `conv_s0`
            and `conv_s1` project them; the caller applies these once per image (`SAM2Model.forward_image`).
        iou_prediction_use_sigmoid: whether predicted IoUs are squashed to 0..1.
        dynamic_multimask_via_stability: see above.
        dynamic_multimask_stability_delta: in logits.
        dynamic_multimask_stability_thresh: share of the mask that must stay for mask 0 to be kept.
        pred_obj_scores: whether a token and a head predict if the object is in the image at all.
        pred_obj_scores_mlp: whether that head is an MLP of three layers in place of one linear.
        use_multimask_token_for_obj_ptr: whether, with several masks, their tokens are returned, not mask 0's.

    Raises:
        ValueError: `transformer_dim` is no multiple of 8.

    Examples:
        >>> from samblocks.blocks import SAM2TwoWayTransformer
        >>> decoder = SAM2MaskDecoder(16, SAM2TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32),
        ...                           use_high_res_features=True, pred_obj_scores=True)
        >>> image, finer, finest = (torch.zeros(1, c, s, s) for c, s in ((16, 4), (4, 8), (2, 16)))
        >>> masks, iou, tokens, score = decoder(
        ...     image_embeddings=image, image_pe=image, sparse_prompt_embeddings=torch.zeros(5, 2, 16),
        ...     dense_prompt_embeddings=image, multimask_output=False, repeat_image=True,
        ...     high_res_features=[finest, finer])
        >>> masks.shape, iou.shape, tokens.shape, score.shape
        (torch.Size([5, 1, 16, 16]), torch.Size([5, 1]), torch.Size([5, 1, 16]), torch.Size([5, 1]))

    Upstream: facebookresearch/sam2 sam2/modeling/sam/mask_decoder.py
    """

    heads_see_images = False
    """Whether the heads are called with an axis of images, as in transformers."""

    def __init__(
        self,
        transformer_dim: int,
        transformer: nn.Module,
        num_multimask_outputs: int = 3,
        activation: type[nn.Module] = nn.GELU,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
        use_high_res_features: bool = False,
        iou_prediction_use_sigmoid: bool = False,
        dynamic_multimask_via_stability: bool = False,
        dynamic_multimask_stability_delta: float = 0.05,
        dynamic_multimask_stability_thresh: float = 0.98,
        pred_obj_scores: bool = False,
        pred_obj_scores_mlp: bool = False,
        use_multimask_token_for_obj_ptr: bool = False,
    ) -> None:
        super().__init__()
        check_dim(transformer_dim)
        self.num_multimask_outputs = num_multimask_outputs
        self.num_mask_tokens = 1 + num_multimask_outputs
        self.transformer_dim = transformer_dim
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, transformer_dim)
        self.pred_obj_scores = pred_obj_scores
        if pred_obj_scores:
            self.obj_score_token = nn.Embedding(1, transformer_dim)
        self.use_multimask_token_for_obj_ptr = use_multimask_token_for_obj_ptr
        self.output_upscaling = make_upscaling(transformer_dim, activation)
        self.use_high_res_features = use_high_res_features
        if use_high_res_features:
            self.conv_s0 = nn.Conv2d(transformer_dim, transformer_dim // 8, kernel_size=1)
            self.conv_s1 = nn.Conv2d(transformer_dim, transformer_dim // 4, kernel_size=1)
        self.output_hypernetworks_mlps = make_hypernetworks(transformer_dim, self.num_mask_tokens)
        self.iou_prediction_head = MLP(
            transformer_dim,
            iou_head_hidden_dim,
            self.num_mask_tokens,
            iou_head_depth,
            sigmoid=iou_prediction_use_sigmoid,
        )
        if pred_obj_scores:
            self.pred_obj_score_head: nn.Module = nn.Linear(transformer_dim, 1)
            if pred_obj_scores_mlp:
                self.pred_obj_score_head = MLP(transformer_dim, transformer_dim, 1, 3)
        self.dynamic_multimask_via_stability = dynamic_multimask_via_stability
        self.dynamic_multimask_stability_delta = dynamic_multimask_stability_delta
        self.dynamic_multimask_stability_thresh = dynamic_multimask_stability_thresh

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict masks for a batch of prompts.

        Args:
            image_embeddings: [B, C, H, W], or [1, C, H, W] with `repeat_image`.
            image_pe: [1, C, H, W], the encoding of places.
            sparse_prompt_embeddings: [B, T, C].
            dense_prompt_embeddings: [B, C, H, W] or [1, C, H, W].
            multimask_output: whether to return the masks for an ambiguous prompt, or one mask.
            repeat_image: whether one image is used for all prompts.
            high_res_features: the maps [B, C/8, 4H, 4W] and [B, C/4, 2H, 2W] (or one of each), already
                projected; None leaves them out.

        Returns:
            masks: [B, M, 4H, 4W] logits, M being `num_multimask_outputs` or 1.
            iou: [B, M] predicted IoUs.
            tokens: [B, M, C] or [B, 1, C], what an object pointer is made from.
            object_score_logits: [B, 1]; 10 where no head predicts them.

        Raises:
            ValueError: the number of images does not fit the prompts and `repeat_image`, or `image_pe` has
                more than one map.
        """
        masks, iou, mask_tokens, object_score_logits = self.predict_masks(
            image_embeddings=image_embeddings,
            image_pe=image_pe,
            sparse_prompt_embeddings=sparse_prompt_embeddings,
            dense_prompt_embeddings=dense_prompt_embeddings,
            repeat_image=repeat_image,
            high_res_features=high_res_features,
        )
        return self._choose(masks, iou, mask_tokens, object_score_logits, multimask_output=multimask_output)

    def _choose(
        self, masks: Tensor, iou: Tensor, tokens: Tensor, score: Tensor, *, multimask_output: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of all masks, as `predict_masks` gives them, what `forward` returns."""
        if multimask_output:
            masks, iou = masks[:, 1:], iou[:, 1:]
        elif self.dynamic_multimask_via_stability and not self.training:
            masks, iou = self._dynamic_multimask_via_stability(masks, iou)
        else:
            masks, iou = masks[:, :1], iou[:, :1]
        several = multimask_output and self.use_multimask_token_for_obj_ptr
        return masks, iou, tokens[:, 1:] if several else tokens[:, :1], score

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        repeat_image: bool,
        high_res_features: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict all masks, mask 0 included; arguments as in `forward`.

        Returns:
            masks: [B, M + 1, 4H, 4W] logits.
            iou: [B, M + 1].
            mask_tokens: [B, M + 1, C], after the transformer.
            object_score_logits: [B, 1].
        """
        prompts, images = len(sparse_prompt_embeddings), len(image_embeddings)
        if images != prompts and not (repeat_image and images == 1):
            raise ValueError(
                f"image_embeddings hold {images} images for {prompts} prompts, repeat_image={repeat_image}; "
                "give one image and repeat_image=True, or one for each prompt"
            )
        if len(image_pe) != 1:
            raise ValueError(f"image_pe must be one map [1, C, H, W], got {len(image_pe)} of them")
        maps = (
            for_prompts("image_embeddings", image_embeddings, prompts, copies=repeat_image),
            image_pe.expand(prompts, -1, -1, -1),
            for_prompts("dense_prompt_embeddings", dense_prompt_embeddings, prompts),
        )
        used = high_res_features if self.use_high_res_features and high_res_features else ()
        finer = tuple(for_prompts("high_res_features", x, prompts) for x in used)
        tokens = self._tokens(sparse_prompt_embeddings)
        how = plan(self, prompts, *maps, *finer)
        if how.blocks:
            finer = tuple(arrange(x, factor) for x, factor in zip(finer, (4, 2), strict=False))
        masks, iou, mask_tokens, score = items_in_chunks(
            self,
            partial(self._decode, how),
            items_at_once(maps[0]),
            tokens,
            look(self, how, tokens),
            *maps,
            *finer,
        )
        return masks, iou, mask_tokens, score

    def _tokens(self, prompts: Tensor) -> Tensor:
        """The learned tokens, and after them those of prompts [B, T, C]: [B, N, C]."""
        learned = [self.iou_token.weight, self.mask_tokens.weight]
        if self.pred_obj_scores:
            learned.insert(0, self.obj_score_token.weight)
        return with_learned(learned, prompts)

    def _decode(
        self,
        how: Plan,
        tokens: Tensor,
        looked: Tensor | None,
        images: Tensor,
        places: Tensor,
        dense: Tensor,
        *finer: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict all masks for tokens [B, N, C] and as many maps of each kind, [B, C, H, W]."""
        prompts = tokens.shape[0]
        tokens, keys = transform(self, how, tokens, looked, images, places, dense)

        at = 1 if self.pred_obj_scores else 0  # where the IoU token is; the masks' follow it
        mask_tokens = tokens[:, at + 1 : at + 1 + self.num_mask_tokens]
        masks = make_masks(self, how, mask_tokens, keys, (images.shape[2], images.shape[3]), *finer)
        iou: Tensor = head_of(self.iou_prediction_head, tokens[:, at], images=self.heads_see_images)
        if not self.pred_obj_scores:
            return masks, iou, mask_tokens, iou.new_full((prompts, 1), 10.0)
        head = self.pred_obj_score_head
        if isinstance(head, nn.Linear):
            return masks, iou, mask_tokens, linear(head, tokens[:, 0])
        return masks, iou, mask_tokens, head_of(head, tokens[:, 0], images=self.heads_see_images)

    def _get_stability_scores(self, mask_logits: Tensor) -> Tensor:
        """Share of a mask that stays when its threshold moves up, of what it is when it moves down.

        Args:
            mask_logits: [B, M, H, W].

        Returns:
            [B, M], 1 where the mask is empty either way.
        """
        delta = self.dynamic_multimask_stability_delta
        logits = mask_logits.flatten(-2)
        inner = (logits > delta).sum(dim=-1)
        outer = (logits > -delta).sum(dim=-1)
        return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)

    def _dynamic_multimask_via_stability(
        self, all_mask_logits: Tensor, all_iou_scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take mask 0 where it is stable, elsewhere the mask of the others with the highest predicted IoU.

        Args:
            all_mask_logits: [B, M + 1, H, W].
            all_iou_scores: [B, M + 1].

        Returns:
            masks: [B, 1, H, W].
            iou: [B, 1].
        """
        stable = self._get_stability_scores(all_mask_logits[:, :1]) >= self.dynamic_multimask_stability_thresh
        best = 1 + all_iou_scores[:, 1:].argmax(dim=-1, keepdim=True)
        chosen = torch.where(stable, 0, best)  # B 1
        pixels = chosen[..., None, None].expand(-1, -1, *all_mask_logits.shape[-2:])
        return all_mask_logits.gather(1, pixels), all_iou_scores.gather(1, chosen)
