"""The errors that samblocks raises in addition to `ValueError` and `TypeError` for wrong arguments.

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


def printable(text: str, longest: int = 80) -> str:
    r"""A file's text made fit for a message: what a terminal would act on is escaped, the rest cut to a length.

    >>> print(printable("a\x1b[31m\nb"))
    a\x1b[31m\nb
    >>> printable("x" * 100, longest=5)
    'xxxx…'
    """
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
