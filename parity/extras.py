"""What only an extra of the wheel brings, and the sentence for where it is missing."""

from importlib.util import find_spec

from parity.errors import UsageError


def need_plots(what: str) -> None:
    """Raise UsageError where the extra `plots` is not installed; asked before a long run, not after it.

    Args:
        what: what needs it.
    """
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise UsageError(f"{what} needs {' and '.join(missing)}: pip install 'samblocks[plots]'")
