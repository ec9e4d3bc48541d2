from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from grpc import StatusCode
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.tree import Tree

from chassis.errors import ChassisError
from examples.demo.collector import Span

_GOOD, _BAD = "[green]✓[/green]", "[bold red]✗[/bold red]"


def short(name: str) -> str:
    """A method, topic or span name without the packages that all of them share.

    >>> short("/cqc.services.v1.AssetRegistry/GetAsset"), short("publish cqc.events.v1.asset_created")
    ('AssetRegistry/GetAsset', 'publish asset_created')
    """
    return name.removeprefix("/").replace("cqc.services.v1.", "").replace("cqc.events.v1.", "")


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    # A pipe has no width of its own, and wrapped columns are hard to read.
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=120)


class Screen:
    """What a person sees of the session, and whether all of it was as expected."""

    def __init__(self, expected: Mapping[str, str], console: Console | None = None) -> None:
        self.surprises: list[str] = []
        self._expected = expected
        self._console = console or _console()

    def title(self, text: str) -> None:
        """Begin a new part."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text)

    async def call(self, step: str, title: str, call: Awaitable[Any]) -> Any:
        """Make a call; print it with status and time, and hold its status against what is expected of this step."""
        started = time.perf_counter()
        code, note, reply = StatusCode.OK, "", None
        try:
            reply = await call
        except ChassisError as error:
            code, note = error.code, str(error)
        milliseconds = (time.perf_counter() - started) * 1000
        self._tell(step, title, code.name, f"{milliseconds:7.1f} ms", note)
        return reply

    def check(self, step: str, title: str, value: object, note: str = "") -> None:
        """Hold a value against what is expected of this step, and print it."""
        self._tell(step, title, str(value), "", note)

    def _tell(self, step: str, title: str, value: str, took: str, note: str) -> None:
        expected = self._expected[step]
        good = value == expected
        if not good:
            self.surprises.append(f"{step}: expected {expected}, got {value}")
        colour = "red" if not good else "yellow" if value.isupper() and value != "OK" else "green"
        line = f"  {_GOOD if good else _BAD} {escape(title):<46} [{colour}]{escape(value):<18}[/{colour}] {took}"
        self._console.print(line + (f"  [dim]{escape(note)}[/dim]" if note else ""))
        if not good:
            self._console.print(f"      [red]expected {escape(expected)}[/red]")

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
        """Print a small table."""
        table = Table(*columns, box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        self._console.print(Padding(table, (0, 0, 1, 4)))

    def trace(self, spans: list[Span]) -> None:
        """Print the spans of one trace as the tree that they are."""
        ids = {span.span_id for span in spans}
        root = Tree("", hide_root=True, guide_style="dim")

        def grow(tree: Tree, children: list[Span]) -> None:
            for span in sorted(children, key=lambda each: each.start):
                label = f"[cyan]{escape(span.service):<14}[/cyan] {span.kind:<9} {escape(short(span.name))}"
                branch = tree.add(f"{label}  [dim]{span.milliseconds:.1f} ms[/dim]")
                grow(branch, [each for each in spans if each.parent_id == span.span_id])

        grow(root, [span for span in spans if span.parent_id not in ids])
        self._console.print(Padding(root, (0, 0, 1, 4)))

    def verdict(self) -> None:
        """Say at the end whether all was as expected."""
        if not self.surprises:
            self._console.print(f"\n{_GOOD} [bold]all as expected[/bold]")
            return
        self._console.print(f"\n{_BAD} [bold red]not as expected:[/bold red]")
        for surprise in self.surprises:
            self._console.print(f"    {escape(surprise)}")
