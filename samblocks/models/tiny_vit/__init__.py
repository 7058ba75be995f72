"""TinyViT, the image encoder of MobileSAM.

| file | what is in it |
|---|---|
| `tiny_vit` | `TinyViT`: stem, four stages, neck |
| `stages` | a stage of convolutions, a stage of attention |
| `blocks` | its attention, its MLP and the block of both |
| `convs` | its stem, its block of convolutions and what shrinks a map between stages |
"""
