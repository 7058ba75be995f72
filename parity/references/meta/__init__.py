"""Meta's segment_anything and sam2."""
