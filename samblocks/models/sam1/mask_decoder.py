"""The mask decoder of SAM 1: from an image's map and a prompt's tokens to masks and predicted IoUs."""

from functools import partial

from torch import Tensor, nn

from samblocks.blocks import MLP
from samblocks.blocks.arguments import checks_arguments
from samblocks.models.decoder_parts import (
    Plan,
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


@checks_arguments(C="transformer_dim")
@computes_half_in_float32
class MaskDecoder(nn.Module):
    """The mask decoder of SAM 1.

    Learned output tokens, one for the IoUs and one for each mask, go through a two-way transformer together
    with the prompt's tokens. The image's map is then enlarged four times, and each mask token gives, through
    an MLP of its own, the vector that every pixel is multiplied with.

    Mask 0 is meant for a prompt with one answer, masks 1 and up for an ambiguous one.

    One image is used for all prompts of a batch. Beyond upstream, which takes one image only, there may be
    as many images as prompts: then they are paired.

    Args:
        transformer_dim: channels of the maps and tokens; a multiple of 8.
        transformer: called with (map, encoding of places, tokens), as `TwoWayTransformer` is.
        num_multimask_outputs: masks for an ambiguous prompt.
        activation: activation between the steps of enlargement.
        iou_head_depth: layers of the MLP that predicts the IoUs.
        iou_head_hidden_dim: hidden channels of that MLP.

    Raises:
        ValueError: `transformer_dim` is no multiple of 8.

    Examples:
        >>> from samblocks.blocks import TwoWayTransformer
        >>> decoder = MaskDecoder(16, TwoWayTransformer(depth=1, embedding_dim=16, num_heads=2, mlp_dim=32))
        >>> masks, iou = decoder(image_embeddings=torch.zeros(1, 16, 4, 4), image_pe=torch.zeros(1, 16, 4, 4),
        ...                      sparse_prompt_embeddings=torch.zeros(5, 2, 16),
        ...                      dense_prompt_embeddings=torch.zeros(5, 16, 4, 4), multimask_output=True)
        >>> masks.shape, iou.shape
        (torch.Size([5, 3, 16, 16]), torch.Size([5, 3]))

    Upstream: facebookresearch/segment-anything segment_anything/modeling/mask_decoder.py
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
    ) -> None:
        super().__init__()
        check_dim(transformer_dim)
        self.num_multimask_outputs = num_multimask_outputs
        self.num_mask_tokens = 1 + num_multimask_outputs
        self.transformer_dim = transformer_dim
        self.transformer = transformer
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, transformer_dim)
        self.output_upscaling = make_upscaling(transformer_dim, activation)
        self.output_hypernetworks_mlps = make_hypernetworks(transformer_dim, self.num_mask_tokens)
        self.iou_prediction_head = MLP(
            transformer_dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth
        )

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks for a batch of prompts.

        Args:
            image_embeddings: [1, C, H, W] or [B, C, H, W], from the image encoder.
            image_pe: [1, C, H, W], the encoding of places.
            sparse_prompt_embeddings: [B, T, C].
            dense_prompt_embeddings: [B, C, H, W] or [1, C, H, W].
            multimask_output: whether to return the masks for an ambiguous prompt, or mask 0 alone.

        Returns:
            masks: [B, M, 4H, 4W] logits, M being `num_multimask_outputs` or 1.
            iou: [B, M] predicted IoUs, not squashed.

        Raises:
            ValueError: the number of images or of dense maps is neither 1 nor that of the prompts.
        """
        masks, iou = self.predict_masks(
            image_embeddings=image_embeddings,
            image_pe=image_pe,
            sparse_prompt_embeddings=sparse_prompt_embeddings,
            dense_prompt_embeddings=dense_prompt_embeddings,
        )
        kept = slice(1, None) if multimask_output else slice(0, 1)
        return masks[:, kept], iou[:, kept]

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict all masks, mask 0 included; arguments as in `forward`.

        Returns:
            masks: [B, M + 1, 4H, 4W] logits.
            iou: [B, M + 1].
        """
        prompts = len(sparse_prompt_embeddings)
        tokens = self._tokens(sparse_prompt_embeddings)
        maps = (
            for_prompts("image_embeddings", image_embeddings, prompts, copies=True),
            for_prompts("image_pe", image_pe, prompts),
            for_prompts("dense_prompt_embeddings", dense_prompt_embeddings, prompts),
        )
        how = plan(self, prompts, *maps)
        looked, step = look(self, how, tokens), items_at_once(maps[0])
        masks, iou = items_in_chunks(self, partial(self._decode, how), step, tokens, looked, *maps)
        return masks, iou

    def _tokens(self, prompts: Tensor) -> Tensor:
        """The learned tokens, and after them those of prompts [B, T, C]: [B, N, C]."""
        return with_learned([self.iou_token.weight, self.mask_tokens.weight], prompts)

    def _decode(
        self,
        how: Plan,
        tokens: Tensor,
        looked: Tensor | None,
        images: Tensor,
        places: Tensor,
        dense: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict all masks for tokens [B, N, C] and as many maps of each kind, [B, C, H, W]."""
        tokens, keys = transform(self, how, tokens, looked, images, places, dense)
        iou: Tensor = head_of(self.iou_prediction_head, tokens[:, 0], images=self.heads_see_images)
        mask_tokens = tokens[:, 1 : 1 + self.num_mask_tokens]
        masks = make_masks(self, how, mask_tokens, keys, (images.shape[2], images.shape[3]))
        return masks, iou
