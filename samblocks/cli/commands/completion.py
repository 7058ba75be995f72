"""`samblocks completion bash|zsh|fish`: a script by which the shell completes commands, options, choices and files.

source <(samblocks completion bash)                   # in ~/.bashrc
source <(samblocks completion zsh)                    # in ~/.zshrc, behind compinit
samblocks completion fish > ~/.config/fish/completions/samblocks.fish
"""

import argparse

from samblocks.cli import commands
from samblocks.cli.command_line import parser_of
from samblocks.cli.completion import SHELLS, completion_script

HELP = "print what makes a shell complete this command"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell the script is for")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(completion_script(arguments.shell, "samblocks", parser_of("samblocks", commands)), end="")
    return 0
