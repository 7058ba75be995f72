"""The errors of the harness that a person sees as one sentence."""


class UsageError(ValueError):
    """The command was asked for something that cannot be; the text says what to do instead."""


class WorkerError(RuntimeError):
    """A process of the references' environment did not start, died, or said what cannot be understood."""


class NotInstalledError(WorkerError):
    """The references' environment, or a package of the reference in it, is not there: nothing could be asked."""


class UnavailableError(RuntimeError):
    """What was asked for cannot be done on this machine; the text says what is missing."""
