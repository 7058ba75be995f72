"""`python -m samblocks` is the command `samblocks`."""

from samblocks.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
