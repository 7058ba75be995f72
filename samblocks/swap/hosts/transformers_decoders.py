"""Prompt encoders and mask decoders of transformers' SAM models: ours, called the way transformers calls its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from samblocks import models
from samblocks.ops.fast_path import paths_are_plain
from samblocks.swap.hosts.reading import made, multimask_outputs, reader, sizes
from samblocks.swap.hosts.transformers_blocks import (
    PositionalEmbedding,
    images_and_prompts,
    plain_two_way_transformer,
    positional_embedding,
)
from samblocks.swap.hosts.transformers_settings import refuse


class PromptEncoder(models.PromptEncoder):
    """The prompt encoder, with axes of images and prompts, transformers' labels and its padding points."""

    point_embed: nn.Embedding | None
    """SAM 2's points, one row for each label; None for SAM 1, whose points are modules of their own."""

    def forward(  # type: ignore[override]
        self,
        input_points: Tensor | None,
        input_labels: Tensor | None,
        input_boxes: Tensor | None,
        input_masks: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:
        """Encode points [B, P, N, 2] with labels [B, P, N], boxes [B, P, 4] and masks [B, 1, h, w].

        Labels: 1, 0 and, in SAM 2, the corners 2 and 3; -1 is no point, -10 is nothing at all.
        """
        tokens, batch = [], 1
        if input_points is not None:
            if input_labels is None:
                raise ValueError("If points are provided, labels must also be provided.")
            batch = input_points.shape[0]
            tokens.append(self._labelled(input_points, input_labels, pad=input_boxes is None))
        if input_boxes is not None:
            batch = input_boxes.shape[0]
            tokens.append(self._corners(input_boxes))
        sparse = torch.cat(tokens, dim=2) if tokens else None
        if input_masks is not None:
            return sparse, self.mask_downscaling(input_masks)
        height, width = self.image_embedding_size
        return sparse, self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch, -1, height, width)

    def _labelled(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        places = points + 0.5
        if pad:
            places = nn.functional.pad(places, (0, 0, 0, 1))
            labels = nn.functional.pad(labels, (0, 1), value=-1)
        encoding = self._encoded(places)
        kind, out = labels[..., None], encoding
        for label in range(2 if self.point_embed is None else self.point_embed.num_embeddings):
            out = torch.where(kind == label, encoding + self._point_embedding(label), out)
        out = torch.where(kind == -1, self.not_a_point_embed.weight, out)
        return torch.where(kind == -10, torch.zeros_like(out), out)

    def _corners(self, boxes: Tensor) -> Tensor:
        corners = (boxes + 0.5).reshape(*boxes.shape[:2], 2, 2)
        if self.point_embed is not None:  # SAM 2 ends with a padding point
            corners = nn.functional.pad(corners, (0, 0, 0, 1))
        tokens = self._encoded(corners)
        kinds = [self._point_embedding(2), self._point_embedding(3)]
        marked = [tokens[..., :2, :] + torch.cat(kinds)]
        if self.point_embed is not None:
            marked.append(self.not_a_point_embed.weight.expand_as(tokens[..., 2:, :]))
        return torch.cat(marked, dim=2).to(tokens.dtype)  # added in place there: autocast rounds them

    def _encoded(self, places: Tensor) -> Tensor:
        """The encoding of (x, y) in pixels of the model's image, for any number of axes."""
        size: Any = self.input_image_size  # one number, as transformers has it
        height, width = (size, size) if isinstance(size, int) else size
        unit = torch.stack((places[..., 0] / width, places[..., 1] / height), dim=-1)
        return self.pe_layer._pe_encoding(unit)

    def _point_embedding(self, label: int) -> Tensor:
        if self.point_embed is None:
            return super()._point_embedding(label)
        return self.point_embed.weight[label : label + 1]

    shared_embedding: PositionalEmbedding

    @property
    def pe_layer(self) -> PositionalEmbedding:  # type: ignore[override]
        """The position encoding under our name; it is held under transformers', which ties its tensor by name."""
        return self.shared_embedding

    @property
    def mask_embed(self) -> nn.Module:
        """The convolutions of masks under transformers' name."""
        return self.mask_downscaling


@reader("transformers.PromptEncoder")
def prompt_encoder(host: Any) -> nn.Module:
    """Sizes; SAM 2's table of points is taken over as it is."""
    ours: Any = made(
        PromptEncoder,
        embed_dim=host.hidden_size,
        image_embedding_size=tuple(host.image_embedding_size),
        input_image_size=(host.input_image_size, host.input_image_size),
        mask_in_chans=host.mask_embed.conv2.out_channels,
        activation=lambda: host.mask_embed.activation,
    )
    ours._modules = {
        "shared_embedding" if name == "pe_layer" else name: part for name, part in ours._modules.items()
    }
    ours.shared_embedding = positional_embedding(host.shared_embedding)
    ours.point_embed = None
    if isinstance(host.point_embed, nn.Embedding):
        del ours.point_embeddings, ours.point_embed
        ours.point_embed = made(nn.Embedding, host.point_embed.num_embeddings, host.hidden_size)
    encoder: nn.Module = ours
    return encoder


class MaskDecoder(models.MaskDecoder):
    """SAM's mask decoder, with axes of images and prompts."""

    heads_see_images = True

    def forward(
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        sparse_prompt_embeddings: Tensor | None,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        attention_similarity: Tensor | None = None,
        target_embedding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks for prompts [B, P, T, C] on maps [B, C, H, W]."""
        refuse(attention_similarity=attention_similarity, target_embedding=target_embedding)
        if sparse_prompt_embeddings is None:
            sparse_prompt_embeddings = image_embeddings.new_empty(
                len(image_embeddings), 1, 0, self.transformer_dim
            )
        images, prompts = sparse_prompt_embeddings.shape[:2]
        found = super().forward(
            image_embeddings=_per_prompt(image_embeddings, images, prompts),
            image_pe=_per_prompt(image_positional_embeddings, images, prompts),
            sparse_prompt_embeddings=images_and_prompts(sparse_prompt_embeddings),
            dense_prompt_embeddings=_per_prompt(dense_prompt_embeddings, images, prompts),
            multimask_output=multimask_output,
        )
        masks, iou = (x.reshape(images, prompts, *x.shape[1:]) for x in found)
        return masks, iou


class Sam2MaskDecoder(models.SAM2MaskDecoder):
    """SAM 2's mask decoder, with axes of images and prompts."""

    heads_see_images = True

    def forward(  # type: ignore[override]
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        high_resolution_features: Sequence[Tensor],
        attention_similarity: Tensor | None = None,
        target_embedding: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict masks for prompts [B, P, T, C] on maps [B, C, H, W]."""
        refuse(attention_similarity=attention_similarity, target_embedding=target_embedding)
        images, prompts = sparse_prompt_embeddings.shape[:2]
        found = super().forward(
            image_embeddings=_per_prompt(image_embeddings, images, prompts),
            image_pe=image_positional_embeddings[:1],
            sparse_prompt_embeddings=images_and_prompts(sparse_prompt_embeddings),
            dense_prompt_embeddings=_per_prompt(dense_prompt_embeddings, images, prompts),
            multimask_output=multimask_output,
            repeat_image=False,
            high_res_features=[_per_prompt(x, images, prompts) for x in high_resolution_features],
        )
        masks, iou, tokens, score = (x.reshape(images, prompts, *x.shape[1:]) for x in found)
        return masks, iou, tokens, score


def _per_prompt(maps: Tensor, images: int, prompts: int) -> Tensor:
    """A map for each prompt, [B * P, C, H, W], from one for each image or one for all."""
    if paths_are_plain():
        maps = maps.contiguous()  # as transformers' copies are
    if len(maps) in (1, images * prompts):
        return maps.expand(images * prompts, -1, -1, -1)
    return maps.repeat_interleave(prompts, dim=0)


@reader("transformers.MaskDecoder")
def mask_decoder(host: Any) -> nn.Module:
    """Widths and flags; the transformer is read on its own."""
    head = host.iou_prediction_head
    common: dict[str, Any] = {
        "transformer_dim": host.hidden_size,
        "transformer": plain_two_way_transformer(host.transformer),
        "num_multimask_outputs": multimask_outputs(host),
        "activation": lambda: host.activation,
        "iou_head_depth": head.num_layers,
        "iou_head_hidden_dim": sizes(head.proj_in)[1],
    }
    if not hasattr(host, "obj_score_token"):
        return made(MaskDecoder, **common)
    return made(
        Sam2MaskDecoder,
        **common,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=bool(head.sigmoid_output),
        dynamic_multimask_via_stability=host.dynamic_multimask_via_stability,
        dynamic_multimask_stability_delta=host.dynamic_multimask_stability_delta,
        dynamic_multimask_stability_thresh=host.dynamic_multimask_stability_thresh,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    )
