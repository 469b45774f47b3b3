"""examples/__main__.py: the server with the examples' mounts and pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.examples import __main__ as command
from wsdaemon.examples.__main__ import FOLDER, PAGES, main, make_server, url


def test_every_page_is_served_and_every_page_is_there() -> None:
    assert {page.name for page in FOLDER.glob("*.html")} == set(PAGES.values())
    make_server()


def test_without_the_pages_there_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"examples\.ini"):
        make_server(folder=tmp_path)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "http://127.0.0.1:8080/"), ("", "http://127.0.0.1:8080/"), ("0.0.0.0", "http://127.0.0.1:8080/"), ("::1", "http://[::1]:8080/")],
)
def test_the_address_that_is_told_can_be_opened(host: str, expected: str) -> None:
    assert url(host, 8080) == expected


def test_an_installed_package_says_where_the_pages_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "FOLDER", tmp_path / "missing")
    assert main([]) == 1
    assert "a clone of the repository has the pages" in capsys.readouterr().err


def test_a_bad_address_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "no such host"]) == 1
    assert "address" in capsys.readouterr().err
