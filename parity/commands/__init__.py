"""The commands of `python -m parity`, one file each; a command is a module with `add(subparsers)`."""
