"""command/connecting.py: the command line of `connect`. tests/live/test_command.py talks to servers."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from wsdaemon.command.exits import Exit
from wsdaemon.command.main import cli


@pytest.mark.parametrize(
    "line",
    [["--wait", "soon", "ws://127.0.0.1/"], ["--ping-interval", "x", "ws://127.0.0.1/"], ["http//127.0.0.1"], [], ["--proxy", "ws://a/"]],
)
def test_wrong_usage_connects_to_nothing(line: list[str]) -> None:
    assert CliRunner().invoke(cli, ["connect", *line]).exit_code == Exit.USAGE


def test_a_server_that_is_not_there_has_a_status_of_its_own() -> None:
    done = CliRunner().invoke(cli, ["connect", "ws+unix:"])
    assert done.exit_code == Exit.USAGE
    done = CliRunner().invoke(cli, ["connect", "--unix", "/no/such/socket", "ws://localhost/"])
    assert done.exit_code == Exit.UNREACHABLE
