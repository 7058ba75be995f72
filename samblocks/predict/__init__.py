"""Predictors: pictures and clicks in, masks out, as upstream's drivers give them.

| file | what is in it |
|---|---|
| `image` | `ImagePredictor`: prompts on a picture |
| `generator` | `MaskGenerator`: all masks of a picture |
| `video` | `VideoPredictor`: prompts on a video |
| `encoded` | the picture, and what the image encoder made of it |
| `drivers` | how SAM and SAM 2 are driven, each in its way |
| `prompts` | clicks, boxes and masks, checked |
| `transforms` | from a picture to a model's input, from its pixels to the model's, from masks back |
| `embeddings` | features in files, bound to weights and pictures |
| `loading` | the model, by path or name |
| `pictures` | what is taken as a picture |
| `resize` | how pictures are brought to a model's size: Pillow's rules and torch's |
| `components` | connected components; holes, sprinkles and small regions |
| `masks` | `Masks`: what was found, in the forms that others take |
| `polygons` | the outlines of a mask |
| `overlays`, `png`, `results` | pictures to look at, and results in files |
| `rle` | COCO's run-length encoding |
| `dataset` | all pictures of a data set, on one machine or several, in embedding files |
| `crops`, `candidates`, `measures`, `nms` | where a mask generator looks, and what it keeps |

`SamPredictor` and `SAM2ImagePredictor` are Meta's names for `ImagePredictor`, `SAM2VideoPredictor` for
`VideoPredictor`, `SAM2AutomaticMaskGenerator` for `MaskGenerator`; `SamAutomaticMaskGenerator` is the latter with
SAM's order of arguments.
"""

from samblocks.predict.dataset.embedding_files import EmbeddingFiles
from samblocks.predict.generator import MaskGenerator, SamAutomaticMaskGenerator
from samblocks.predict.image import ImagePredictor
from samblocks.predict.video.predictor import VideoPredictor

SamPredictor = SAM2ImagePredictor = ImagePredictor
SAM2AutomaticMaskGenerator = MaskGenerator
SAM2VideoPredictor = VideoPredictor

__all__ = [
    "EmbeddingFiles",
    "ImagePredictor",
    "MaskGenerator",
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "SAM2VideoPredictor",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "VideoPredictor",
]
