"""The errors that samblocks raises in addition to `ValueError` and `TypeError` for wrong arguments.

Every message names what was found, what was expected and what to do next. It is one line that a terminal shows as it
is, however strange the path, the file or the server is whose words stand in it.
"""

from typing import Final

LONGEST: Final = 1800
"""Characters of a message; of longer ones the middle is left out, since what to do next stands at the end."""


class SamblocksError(Exception):
    """Base class of every error that is about a file, a layout or a host model, not about an argument."""

    def __init__(self, message: str = "") -> None:
        super().__init__(sentence(message))


class ArgumentError(ValueError):
    """A wrong argument that shows only once the file is known: no boundary takes it for a fault of the file."""


class CheckpointError(SamblocksError):
    """A checkpoint file cannot be read, is not what it claims to be, or does not fit the model."""


class LayoutError(SamblocksError):
    """Tensor names do not fit the layout they are said, or were found, to have."""


class SwapError(SamblocksError):
    """A host model's module cannot be swapped, or a swap cannot be undone."""


class EngineError(SamblocksError):
    """A runtime is missing, cannot take a model, or what it made is damaged."""


def printable(text: str, longest: int = 80) -> str:
    r"""A file's text made fit for a message: what a terminal would act on is escaped, the rest cut to a length.

    >>> print(printable("a\x1b[31m\nb"))
    a\x1b[31m\nb
    >>> printable("x" * 100, longest=5)
    'xxxx…'
    """
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def sentence(text: str) -> str:
    r"""A message made fit to be shown: one line without control characters, of at most `LONGEST` characters.

    >>> print(sentence("a.pt\x1b[31m is empty:\n0 bytes"))
    a.pt\x1b[31m is empty:\n0 bytes
    >>> len(sentence("x" * 10**6))
    1800
    """
    if len(text) > LONGEST:
        text = text[: LONGEST // 2] + " … " + text[-(LONGEST // 2 - 3) :]
    shown = printable(text, longest=LONGEST)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def counted(number: int, noun: str) -> str:
    """A number of things, in words that fit one of them as well.

    >>> counted(1, "shard"), counted(2, "shard"), counted(1200, "tensor")
    ('1 shard', '2 shards', '1,200 tensors')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def cause(error: BaseException) -> str:
    """What another library's, or the system's, exception says, with its kind where the words alone would not do.

    >>> cause(OSError(28, "No space left on device")), cause(MemoryError()), cause(KeyError("a"))
    ('No space left on device', 'out of memory', "KeyError: 'a'")
    """
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
