"""SAM 1: image encoder, mask decoder, the whole model."""
