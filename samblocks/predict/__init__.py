"""Predictors: pictures and clicks in, masks out, as upstream's drivers give them.

| file | what is in it |
|---|---|
| `pictures` | what is taken as a picture |
| `resize` | how pictures are brought to a model's size: Pillow's rules and torch's |
| `components` | connected components; holes, sprinkles and small regions |
| `rle` | COCO's run-length encoding |
| `crops`, `measures`, `nms` | where a mask generator looks, and what it keeps |
"""
