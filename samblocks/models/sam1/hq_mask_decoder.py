"""The mask decoder of HQ-SAM: SAM 1's, with one token and one finer map for sharper masks."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from samblocks.blocks import MLP, LayerNorm2d
from samblocks.blocks.arguments import checks_arguments
from samblocks.models.decoder_parts import (
    Plan,
    as_map,
    for_prompts,
    head_of,
    look,
    mask_vectors,
    multiply_out,
    plan,
    transform,
    with_learned,
)
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.ops.chunking import items_at_once, items_in_chunks
from samblocks.ops.half_precision import computes_half_in_float32


@checks_arguments(C="transformer_dim")
@computes_half_in_float32
class MaskDecoderHQ(MaskDecoder):
    """The mask decoder of HQ-SAM.

    A token of its own goes through SAM's transformer behind the mask tokens. Its vector is multiplied with a finer
    map: SAM's enlarged one through two convolutions, plus the image's features and those after the encoder's first
    global block, each enlarged four times. The mask that comes out corrects SAM's, or stands for it.

    Where several masks are asked for, the one of the best predicted IoU is corrected: there is one mask for each
    prompt, always.

    Args:
        transformer_dim: as for `MaskDecoder`, like the five arguments after it.
        transformer: called with (map, encoding of places, tokens).
        num_multimask_outputs: masks for an ambiguous prompt, the best of which is taken.
        activation: activation between the steps of SAM's enlargement; those of HQ-SAM have GELU.
        iou_head_depth: layers of the MLP that predicts the IoUs.
        iou_head_hidden_dim: hidden channels of that MLP.
        vit_dim: channels of the features after the encoder's first global block.

    Raises:
        ValueError: `transformer_dim` is no multiple of 8.

    Examples:
        >>> from samblocks.blocks import TwoWayTransformer
        >>> decoder = MaskDecoderHQ(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32), vit_dim=24)
        >>> masks, iou = decoder(image_embeddings=torch.zeros(1, 16, 4, 4), image_pe=torch.zeros(1, 16, 4, 4),
        ...                      sparse_prompt_embeddings=torch.zeros(5, 2, 16),
        ...                      dense_prompt_embeddings=torch.zeros(5, 16, 4, 4), multimask_output=True,
        ...                      hq_token_only=False, interm_embeddings=[torch.zeros(1, 4, 4, 24)])
        >>> masks.shape, iou.shape
        (torch.Size([5, 1, 16, 16]), torch.Size([5, 1]))

    Upstream: SysCV/sam-hq segment_anything/modeling/mask_decoder_hq.py
    """

    def __init__(
        self,
        transformer_dim: int,
        transformer: nn.Module,
        num_multimask_outputs: int = 3,
        activation: type[nn.Module] = nn.GELU,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
        vit_dim: int = 1024,
    ) -> None:
        super().__init__(
            transformer_dim,
            transformer,
            num_multimask_outputs,
            activation,
            iou_head_depth,
            iou_head_hidden_dim,
        )
        self.vit_dim = vit_dim
        dim, fine = transformer_dim, transformer_dim // 8
        self.hf_token = nn.Embedding(1, dim)
        self.hf_mlp = MLP(dim, dim, fine, 3)
        self.compress_vit_feat = _enlarging(vit_dim, dim, fine)
        self.embedding_encoder = _enlarging(dim, dim // 4, fine)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(fine, dim // 4, kernel_size=3, padding=1),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, fine, kernel_size=3, padding=1),
        )

    def forward(  # type: ignore[override]  # it needs what SAM's decoder has not
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        hq_token_only: bool,
        interm_embeddings: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Predict one mask for each of a batch of prompts.

        Args:
            image_embeddings: [1, C, H, W] or [B, C, H, W], from the image encoder.
            image_pe: [1, C, H, W], the encoding of places.
            sparse_prompt_embeddings: [B, T, C].
            dense_prompt_embeddings: [B, C, H, W] or [1, C, H, W].
            multimask_output: whether the best of the masks for an ambiguous prompt is meant, or mask 0.
            hq_token_only: whether to return HQ-SAM's own mask, or its sum with SAM's.
            interm_embeddings: the encoder's maps from inside; the first, [1, H, W, vit_dim] or
                [B, H, W, vit_dim], is used.

        Returns:
            masks: [B, 1, 4H, 4W] logits.
            iou: [B, 1] predicted IoUs of SAM's mask, not squashed.

        Raises:
            ValueError: the number of maps of a kind is neither 1 nor that of the prompts, or the first of
                `interm_embeddings` has not `vit_dim` channels, or another height or width.
        """
        if not interm_embeddings or interm_embeddings[0].shape[-1] != self.vit_dim:
            shapes = [tuple(one.shape) for one in interm_embeddings]
            raise ValueError(
                f"interm_embeddings has shapes {shapes}; the first must be [B, H, W, {self.vit_dim}]"
            )
        early = interm_embeddings[0].permute(0, 3, 1, 2)
        if early.shape[-2:] != image_embeddings.shape[-2:]:
            raise ValueError(
                f"interm_embeddings[0] has the shape {tuple(interm_embeddings[0].shape)}, image_embeddings "
                f"{tuple(image_embeddings.shape)}: their height and width must be alike"
            )
        fine = self.embedding_encoder(image_embeddings) + self.compress_vit_feat(early)
        prompts = len(sparse_prompt_embeddings)
        tokens = self._tokens(sparse_prompt_embeddings)
        maps = (
            for_prompts("image_embeddings", image_embeddings, prompts),
            for_prompts("image_pe", image_pe, prompts),
            for_prompts("dense_prompt_embeddings", dense_prompt_embeddings, prompts),
            for_prompts("interm_embeddings", fine, prompts),
        )
        # The enlarged map itself is needed, so that it is made as one.
        how = plan(self, prompts, *maps[:3])._replace(blocks=False)
        looked, step = look(self, how, tokens), items_at_once(maps[0])
        masks, iou, sharper = items_in_chunks(
            self, partial(self._decode_all, how), step, tokens, looked, *maps
        )
        if multimask_output:
            iou, best = iou[:, 1:].max(dim=1, keepdim=True)
            masks = masks[torch.arange(prompts, device=masks.device)[:, None], 1 + best]
        else:
            masks, iou = masks[:, :1], iou[:, :1]
        return (sharper if hq_token_only else masks + sharper), iou

    def _tokens(self, prompts: Tensor) -> Tensor:
        """The learned tokens, HQ-SAM's last, and after them those of prompts [B, T, C]: [B, N, C]."""
        return with_learned([self.iou_token.weight, self.mask_tokens.weight, self.hf_token.weight], prompts)

    def _decode_all(
        self,
        how: Plan,
        tokens: Tensor,
        looked: Tensor | None,
        images: Tensor,
        places: Tensor,
        dense: Tensor,
        fine: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predict SAM's masks, their IoUs and the sharper mask for tokens [B, N, C] and as many maps of each kind."""
        tokens, keys = transform(self, how, tokens, looked, images, places, dense)
        iou: Tensor = head_of(self.iou_prediction_head, tokens[:, 0], images=self.heads_see_images)
        upscaled = self.output_upscaling(as_map(keys, (images.shape[2], images.shape[3])))
        last = 1 + self.num_mask_tokens
        masks = multiply_out(mask_vectors(self, tokens[:, 1:last]), upscaled)
        vector = self.hf_mlp(tokens[:, last : last + 1])
        return masks, iou, multiply_out(vector, self.embedding_maskfeature(upscaled) + fine)


def _enlarging(dim: int, hidden: int, out: int) -> nn.Sequential:
    """Make the two steps that enlarge a map [B, dim, H, W] to [B, out, 4H, 4W]."""
    return nn.Sequential(
        nn.ConvTranspose2d(dim, hidden, kernel_size=2, stride=2),
        LayerNorm2d(hidden),
        nn.GELU(),
        nn.ConvTranspose2d(hidden, out, kernel_size=2, stride=2),
    )
