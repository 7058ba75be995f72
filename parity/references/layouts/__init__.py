"""The far side of the proof of layouts: upstream's own loaders and converters."""
