"""`parity completion bash|zsh|fish`: what makes a shell complete command lines.

source <(samblocks-parity completion bash)            # in ~/.bashrc
source <(samblocks-parity completion zsh)             # in ~/.zshrc, behind compinit
samblocks-parity completion fish > ~/.config/fish/completions/samblocks-parity.fish
"""

import argparse

from parity import commands
from samblocks.cli.command_line import parser_of
from samblocks.cli.completion import SHELLS, completion_script

HELP = "print what makes a shell complete this command, as it is called once installed"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell the script is for")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(completion_script(arguments.shell, "samblocks-parity", parser_of("parity", commands)), end="")
    return 0
