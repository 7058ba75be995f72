"""Shell completion: a program's argument parser, written as a script for bash, zsh or fish.

What is typed can be completed without asking the program: subcommands, options, choices, names of released models, and
files, where an argument takes one. A script is as good as the release that printed it; print it again after the next.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from samblocks.variants import VARIANTS

SHELLS: Final = ("bash", "zsh", "fish")

_FILES: Final = frozenset({"FILE", "FOLDER", "DIR", "IMAGE", "VIDEO", "IN", "OUT"})
"""Words for a value, in the help of an argument, that mean something in the file system."""
_MODELS: Final = frozenset({"model", "variant", "variants"})
"""Arguments that take the name of a released model."""


@dataclass(frozen=True)
class Argument:
    """What a shell has to know of an argument.

    Args:
        flags: such as `--output` and `-o`; none for a positional one.
        value: whether a value follows the flags.
        words: the values that are known.
        files: whether files are values, too.
        several: it may be given several times.
        name: of the value, for people.
        help: one line.
    """

    flags: tuple[str, ...]
    value: bool
    words: tuple[str, ...]
    files: bool
    several: bool
    name: str
    help: str


@dataclass(frozen=True)
class Command:
    """A subcommand: its name, its line of help and its arguments."""

    name: str
    help: str
    arguments: tuple[Argument, ...]


def completion_script(shell: str, program: str, parser: argparse.ArgumentParser) -> str:
    """The script that completes a program's command lines.

    Args:
        shell: one of `SHELLS`.
        program: the name by which it is called.
        parser: its parser, with subcommands.

    Returns:
        The text, for `source` or for the folder in which the shell looks for completions.
    """
    options = tuple(_arguments(parser))
    commands = tuple(_commands(parser))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](program, options, commands)


def _commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {one.dest: one.help or "" for one in action._choices_actions}
            for name, sub in action.choices.items():
                yield Command(name, told.get(name, ""), tuple(_arguments(sub)))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        words = tuple(map(str, action.choices or (VARIANTS if action.dest in _MODELS else ())))
        known = {word.partition(".")[0] for word in metavar.split("|")}
        yield Argument(
            tuple(action.option_strings),
            action.nargs != 0,
            words,
            getattr(action.type, "__name__", "") == "Path" or bool(known & _FILES),
            action.nargs in ("*", "+")
            or not isinstance(
                action, argparse._StoreAction | argparse._StoreTrueAction | argparse._HelpAction
            ),
            metavar,
            " ".join((action.help or "").replace("%%", "%").split()),
        )


def _bash(program: str, options: tuple[Argument, ...], commands: tuple[Command, ...]) -> str:
    """A function that looks at the words so far, and sets what may come."""
    function = _function(program)
    top = [*(command.name for command in commands), *_flags(options)]
    lines = [
        f"# bash completion for {program}; in ~/.bashrc: source <({program} completion bash)",
        f"{function}() {{",
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words= files= word",
        "    COMPREPLY=()",
        "    # bash takes --option=value for three words.",
        "    if [[ $current == = ]]; then current=",
        "    elif [[ $previous == = ]]; then previous=${COMP_WORDS[COMP_CWORD-2]}; fi",
        "    if ((COMP_CWORD == 1)); then",
        f"        words={shlex.quote(' '.join(top))}",
        "    else case ${COMP_WORDS[1]} in",
    ]
    for command in commands:
        lines += [f"        {command.name})", "            case $previous in"]
        for one in command.arguments:
            if one.flags and one.value:
                what = [f"words={shlex.quote(' '.join(one.words))}"] if one.words else []
                what += ["files=1"] if one.files else []
                lines.append(f"                {'|'.join(one.flags)}) {'; '.join(what) or ':'} ;;")
        flags, positional = _flags(command.arguments), [one for one in command.arguments if not one.flags]
        lines += [
            "                *)",
            f"                    if [[ $current == -* ]]; then words={shlex.quote(' '.join(flags))}",
            f"                    else words={shlex.quote(' '.join(word for one in positional for word in one.words))}"
            f" files={'1' if any(one.files for one in positional) else ''}; fi ;;",
            "            esac ;;",
        ]
    lines += [
        "    esac; fi",
        '    while IFS= read -r word; do COMPREPLY+=("$word"); done < <(',
        '        [[ -n $words ]] && compgen -W "$words" -- "$current"',
        '        [[ -n $files ]] && compgen -f -- "$current"',
        "    )",
        "    [[ -n $files ]] && compopt -o filenames 2> /dev/null",
        "    return 0",
        "}",
        f"complete -F {function} {program}",
    ]
    return "\n".join(lines) + "\n"


def _zsh(program: str, options: tuple[Argument, ...], commands: tuple[Command, ...]) -> str:
    """Calls of `_arguments`, which zsh's own completions are made of."""
    function = _function(program)
    lines = [
        f"#compdef {program}",
        f"# zsh completion for {program}; in ~/.zshrc, behind compinit: source <({program} completion zsh)",
        f"{function}() {{",
        "    local context state state_descr line",
        "    local -a commands",
        "    typeset -A opt_args",
        f"    _arguments -C {' '.join(_zsh_specs(options))} '1: :->command' '*:: :->argument'",
        "    case $state in",
        "    command)",
        "        commands=(",
        *(f"            {shlex.quote(f'{one.name}:{one.help}')}" for one in commands),
        "        )",
        "        _describe command commands ;;",
        "    argument)",
        "        case $words[1] in",
    ]
    for command in commands:
        lines += [
            f"        {command.name})",
            " \\\n            ".join(["            _arguments", *_zsh_specs(command.arguments)]) + " ;;",
        ]
    lines += [
        "        esac ;;",
        "    esac",
        "}",
        f'if [[ $funcstack[1] == {function} ]]; then {function} "$@"; else compdef {function} {program}; fi',
    ]
    return "\n".join(lines) + "\n"


def _zsh_specs(arguments: tuple[Argument, ...]) -> list[str]:
    """A word for each way to give an argument, as `_arguments` reads them."""
    specs = []
    for one in arguments:
        help, name = (re.sub(r"([\[\]:\\])", r"\\\1", text) for text in (one.help, one.name))
        words = " ".join(one.words)
        action = f"({words})" if one.words else "_files" if one.files else " "
        if one.words and one.files:
            action = f"{{compadd -- {words}; _files}}"
        value = f":{name}:{action}" if one.value else ""
        if not one.flags:
            specs.append(shlex.quote(f"{'*' if one.several else ''}:{name}:{action}"))
        for flag in one.flags:
            long = "=" if flag.startswith("--") and one.value else ""
            apart = "*" if one.several else f"({' '.join(one.flags)})" if len(one.flags) > 1 else ""
            specs.append(shlex.quote(f"{apart}{flag}{long}[{help}]{value}"))
    return specs


def _fish(program: str, options: tuple[Argument, ...], commands: tuple[Command, ...]) -> str:
    """A line for each argument, with the condition under which it may come."""
    lines = [
        f"# fish completion for {program}; {program} completion fish > ~/.config/fish/completions/{program}.fish",
        f"complete -c {program} -f",
    ]
    first = f"complete -c {program} -n __fish_use_subcommand"
    for command in commands:
        lines.append(f"{first} -a {command.name} -d {_fish_quoted(command.help)}")
    lines += [f"{first} {_fish_spec(one)}" for one in options]
    for command in commands:
        inside = f"complete -c {program} -n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"{inside} {spec}" for spec in map(_fish_spec, command.arguments) if spec]
    return "\n".join(lines) + "\n"


def _fish_spec(one: Argument) -> str:
    parts = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in one.flags]
    if one.value and one.flags:
        parts.append("-r")
    if one.value and one.words:
        parts.append(f"-a {_fish_quoted(' '.join(one.words))}")
    if one.value and one.files:
        parts.append("-F")
    if parts and one.help:
        parts.append(f"-d {_fish_quoted(one.help)}")
    return " ".join(parts)


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _flags(arguments: tuple[Argument, ...]) -> list[str]:
    return [flag for one in arguments for flag in one.flags]


def _function(program: str) -> str:
    return "_" + re.sub(r"\W", "_", program)
