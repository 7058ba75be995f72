"""TinyViT, the image encoder of MobileSAM."""
