"""SAM 2 and 2.1.

| file | what is in it |
|---|---|
| `model` | `SAM2Model`: what happens to an image and to a frame of a video, step by step |
| `parts`, `config` | what the model is made of, and its settings as one frozen object |
| `heads` | from features and prompts to masks and scores |
| `memory_bank`, `frames` | what a frame reads of earlier ones, what is written of it; which earlier ones |
| `levels` | maps of the image encoder as tokens, and back |
| `image_encoder`, `hiera` | the image encoder: neck and whole, trunk |
| `mask_decoder` | the mask decoder |
| `memory` | memory attention and memory encoder |

The prompt encoder, which SAM 1 has too, is `samblocks.models.prompt_encoder`.
"""
