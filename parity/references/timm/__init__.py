"""timm's image encoders."""
