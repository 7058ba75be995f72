"""Text that a file brought along, made fit for a message: one line, no control characters, not too long."""

from __future__ import annotations


def printable(text: str, longest: int = 80) -> str:
    r"""The text with everything that a terminal would act on written out.

    >>> print(printable("a\x1b[31m\nb"))
    a\x1b[31m\nb
    >>> printable("x" * 100, longest=5)
    'xxxx…'
    """
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
