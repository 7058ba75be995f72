"""The errors of the harness that a person sees as one sentence."""


class UsageError(ValueError):
    """The command was asked for something that cannot be; the text says what to do instead."""


class WorkerError(RuntimeError):
    """A process of the references' environment did not start, died, or said what cannot be understood."""
