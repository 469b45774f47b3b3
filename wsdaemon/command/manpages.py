"""The manual pages, made from the help: `python -m wsdaemon.command.manpages etc/man` writes one for each command anew."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ..version import __version__
from .exits import Exit
from .main import PROGRAM, cli

MEANINGS = {
    Exit.DONE: "Done.",
    Exit.FAILED: "Failed: the command found a problem, or the daemon answered with one.",
    Exit.USAGE: "The command line is wrong.",
    Exit.BUSY: "The daemon is busy with another operation.",
    Exit.UNREACHABLE: "Unreachable: DNS, TCP, TLS, a certificate, a proxy, or no answer in time.",
    Exit.REFUSED: "Refused: an HTTP status other than 101, or a token that the server does not take.",
    Exit.LOST: "The connection was lost, or closed with a code other than 1000 and 1001.",
    Exit.INTERRUPTED: "Interrupted with Ctrl-C.",
}


def pages() -> dict[str, str]:
    """The texts of all pages by their file names."""
    root = click.Context(cli, info_name=PROGRAM)
    commands = [(name, cli.get_command(root, name)) for name in cli.list_commands(root)]
    found = {f"{PROGRAM}.1": _page(PROGRAM, root, [f"{PROGRAM}-{name}" for name, _ in commands])}
    for name, command in commands:
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        found[f"{PROGRAM}-{name}.1"] = _page(f"{PROGRAM}-{name}", context, [PROGRAM])
    return found


def _page(name: str, context: click.Context, others: list[str]) -> str:
    command = context.command
    about, _, more = (command.help or "").partition("\n\n")
    summary = " ".join(about.split()).rstrip(".")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH {name.upper()} 1 "" "wsdaemon {__version__}" "wsdaemon"',
        ".SH NAME", f"{_escaped(name)} \\- {_escaped(summary[:1].lower() + summary[1:])}",
        ".SH SYNOPSIS", f".B {_escaped(context.command_path)}", _escaped(usage),
        ".SH DESCRIPTION", *_paragraphs(f"{about}\n\n{more}"),
    ]  # fmt: skip
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS", *_commands(command, context)]
    lines += [".SH OPTIONS", *_options(command, context), ".SH EXIT STATUS"]
    for status, meaning in MEANINGS.items():
        lines += [".TP", str(int(status)), meaning]
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{_escaped(other)}\\fR(1)" for other in others)]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from (".TP", f"\\fB{_escaped(name)}\\fR", _escaped(command.get_short_help_str(200)))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for each in command.get_params(context):
        if isinstance(each, click.Option) and "--help" not in each.opts:  # its names depend on how the command was begun
            names = ", ".join((*each.opts, *each.secondary_opts))
            value = "" if each.is_flag else f" {each.make_metavar(context)}"
            yield from (".TP", f"\\fB{_escaped(names)}{_escaped(value)}\\fR", _escaped(each.help or ""))
    yield from (".TP", "\\fB\\-h, \\-\\-help\\fR", "Show the help.")


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield from (".PP", _escaped(" ".join(paragraph.split())))


def _escaped(text: str) -> str:
    """Text that roff takes as it is; roff(7)."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def main(folder: Path) -> None:
    """Write all pages, and remove those of commands that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    found = pages()
    for old in folder.glob("*.1"):
        if old.name not in found:
            old.unlink()
    for name, text in found.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
