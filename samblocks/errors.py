"""The errors that samblocks raises beside `ValueError` and `TypeError` for wrong arguments.

Every message names what was found, what was expected and what to do next.
"""


class SamblocksError(Exception):
    """Base class of every error that is about a file, a layout or a host model, not about an argument."""


class CheckpointError(SamblocksError):
    """A checkpoint file cannot be read, is not what it claims to be, or does not fit the model."""


class LayoutError(SamblocksError):
    """Tensor names do not fit the layout they are said, or were found, to have."""


class SwapError(SamblocksError):
    """A host model's module cannot be swapped, or a swap cannot be undone."""
