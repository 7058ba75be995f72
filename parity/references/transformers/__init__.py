"""transformers' SAM and SAM 2."""
