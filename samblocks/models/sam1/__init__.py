"""SAM 1, and the whole of MobileSAM but for its image encoder.

| file | what is in it |
|---|---|
| `model` | `SAMModel`: from pictures and prompts to masks |
| `image_encoder` | the vision transformer |
| `mask_decoder` | the mask decoder |
| `hq_model`, `hq_mask_decoder` | the same of HQ-SAM |

The prompt encoder, which SAM 2 has too, is `samblocks.models.prompt_encoder`.
"""
