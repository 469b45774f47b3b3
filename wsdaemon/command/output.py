"""The output of commands: colour on a terminal and none in a pipe, JSON for scripts, and text of other machines made harmless."""

from __future__ import annotations

import functools
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

Command = TypeVar("Command", bound="Callable[..., Any]")

as_json = click.option("--json", "json_output", is_flag=True, help="Print JSON, for scripts.")
"""The option of each command that answers with data."""


PIPE_COLUMNS = 100_000
"""The width of a table in a pipe: a script finds each row on one line."""


def coloured(stream: Any) -> bool:
    """Whether a stream gets colours: a terminal does, unless NO_COLOR is set (https://no-color.org) or TERM is `dumb`."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


@functools.cache
def console(error: bool = False) -> Console:
    """The console of standard output, or of standard error. Text is printed as it is: no markup, and no colours by guesses."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    made = Console(stderr=error, no_color=not coloured(stream), highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not stream.isatty() and "COLUMNS" not in os.environ:
        made.width = PIPE_COLUMNS
    return made


def print_json(value: object) -> None:
    """One JSON value on one line, at once: a script may wait for it.

    A terminal gets ASCII alone, because JSON itself escapes neither DEL nor the control characters from U+0080 to U+009F.
    """
    click.echo(json.dumps(value, ensure_ascii=sys.stdout.isatty(), allow_nan=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> Table:
    """A table without a frame. `right`: the columns with numbers. A narrow terminal never breaks an id, because operators copy it."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    numbers = set(right)
    for name in columns:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold", no_wrap=name == "id")
    for row in rows:
        made.add_row(*(Text(harmless(str(cell))) for cell in row))
    return made


def harmless(text: str) -> str:
    """Text of another machine, safe for a terminal: control characters and the like become escapes. Tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def harmless_lines(text: str) -> str:
    """As harmless(), for a text of several lines: its line ends stay."""
    return "\n".join(map(harmless, text.split("\n")))


def complain(text: str) -> None:
    """One message on standard error, as all messages of the command look. It may have text of another machine."""
    name = click.style("wsdaemon:", fg="red") if coloured(sys.stderr) else "wsdaemon:"
    click.echo(f"{name} {harmless_lines(text)}", err=True)


def seconds_text(seconds: float) -> str:
    """A duration with a unit that suits it, such as 1.25 ms or 3h 5m."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.2f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"
