"""The errors of the harness that a person sees as one sentence."""


class UsageError(ValueError):
    """The command was asked for something that cannot be; the text says what to do instead."""
