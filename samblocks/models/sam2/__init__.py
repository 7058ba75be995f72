"""SAM 2 and 2.1: image encoder, decoder, memory, tracking, the whole model."""
