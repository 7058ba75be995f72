"""A file's tensors by name, mapped into memory, nothing ever run."""
