"""The commands of `python -m parity`, one file each; `samblocks.cli.command_line` says what a command has to have."""
