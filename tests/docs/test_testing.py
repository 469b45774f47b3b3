"""docs/testing.md: its tests pass."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.testing.plugin import wsdaemon_server as wsdaemon_server

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "testing.md").read_text()


def found() -> Iterator[Callable[..., Any]]:
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        names: dict[str, Any] = {}
        exec(compile(block, "docs/testing.md", "exec"), names)
        yield from [value for name, value in names.items() if name.startswith("test_")]


@pytest.mark.parametrize("test", list(found()), ids=lambda test: test.__name__)
def test_each_test_of_the_page(test: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    arguments = [request.getfixturevalue(name) for name in inspect.signature(test).parameters]
    result = test(*arguments)
    if inspect.iscoroutine(result):
        asyncio.run(result)
