"""HQ-SAM and Light HQ-SAM: SAM 1 and MobileSAM with a decoder that sees the encoder's early features too."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from samblocks.models.sam1.model import SAMModel


class SAMModelHQ(SAMModel):
    """HQ-SAM, whole: `SAMModel` with a `MaskDecoderHQ`.

    Args:
        image_encoder: one that has `forward_intermediates`, as `ImageEncoderViT` and `TinyViT` have.
        prompt_encoder: as for `SAMModel`, like what follows.
        mask_decoder: a `MaskDecoderHQ` whose `vit_dim` is that of the encoder's maps.
        pixel_mean: mean of the channels, for values from 0 to 255.
        pixel_std: deviation of the channels.

    Upstream: SysCV/sam-hq segment_anything/modeling/sam.py
    """

    def forward(
        self, batched_input: Sequence[Mapping[str, Any]], multimask_output: bool, hq_token_only: bool = False
    ) -> list[dict[str, Tensor]]:
        """Segment several images, each with prompts of its own; see `SAMModel.forward`.

        Args:
            batched_input: one mapping for each image.
            multimask_output: whether the best of several masks is meant for each prompt, or the first.
            hq_token_only: whether to return HQ-SAM's own masks, or their sums with SAM's.

        Returns:
            As `SAMModel.forward`, with one mask for each prompt.

        Raises:
            ValueError: an input lacks `image` or `original_size`, or an image is larger than the model's.
        """
        images = self.prepared(batched_input)
        features, maps = cast(Any, self.image_encoder).forward_intermediates(images)
        results = []
        for index, record in enumerate(batched_input):
            own = slice(index, index + 1)
            more = {"hq_token_only": hq_token_only, "interm_embeddings": [one[own] for one in maps]}
            results.append(self.segment(record, features[own], multimask_output, **more))
        return results
