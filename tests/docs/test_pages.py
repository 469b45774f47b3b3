"""The pages are true: INI and Python blocks work, commands are well-formed, and every named file, key, option and package exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from twisted.scripts._twistd_unix import ServerOptions

from tests.support.prose import in_code
from wsdaemon.command.main import cli
from wsdaemon.settings.admin import AdminSettings
from wsdaemon.settings.apps import APP_OPTIONS
from wsdaemon.settings.auth import AUTH_KINDS
from wsdaemon.settings.broker import BrokerSettings
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import ListenerSettings, MountSettings, TlsSettings
from wsdaemon.settings.schema import keys_of
from wsdaemon.tap import Options

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "systemd" / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")])
FOLDERS = ("wsdaemon", "docs", "etc", "tests", "examples", "systemd", "benchmarks", "twisted", ".ci")
SECTIONS = (DaemonSettings, LoggingSettings, ListenerSettings, MountSettings, TlsSettings, AdminSettings, BrokerSettings)
KEYS = {key for each in (*SECTIONS, *APP_OPTIONS.values(), *AUTH_KINDS.values()) for key in keys_of(each)} | {"kind"}

FOREIGN_OPTIONS = {
    "--allow-file-access-from-files",  # Chromium
    "--editable",  # pip
}


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


each_page = pytest.mark.parametrize("page", PAGES, ids=names(PAGES))


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages; "" is a block that names none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands(page: Path) -> Iterator[str]:
    """The command lines of a page: those of sh blocks, and indented ones that begin with a program."""
    for block in blocks(page, "sh"):
        yield from (line for line in block.splitlines() if re.match(r"[\w./]+ ", line) and line.count("'") % 2 == 0)
    fenceless = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in re.findall(r"^ {4}(\S.*)$", fenceless, re.MULTILINE):
        if re.match(r"(?:[\w./-]*/)?(?:python3?|pip|twistd|cp|install|systemctl|systemd-analyze|chgrp|[\w/]+\.py) ", line):
            yield line


# -- settings


def completed(block: str, folder: Path) -> str:
    """The block with what a whole file needs besides: a listener, a mount, and the admin token's file."""
    token = folder / "token"
    token.write_text("0123456789abcdef\n")
    text = re.sub(r"(?m)^((?:token_)?file) = .*token$", rf"\1 = {token}", block)
    text += "" if "[listener:" in text else "\n[listener:added]\naddress = tcp:0\n"
    return text + ("" if "[mount:" in text else "\n[mount:/added]\napp = echo\n")


@each_page
def test_ini_blocks_are_good_settings(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "ini"):
        path = tmp_path / "ws.ini"
        path.write_text(completed(block, tmp_path))
        load(path)


@each_page
def test_settings_in_the_text_exist(page: Path) -> None:
    for code in in_code(page.read_text("utf-8")):
        match = re.fullmatch(r"([a-z][a-z_]+) = [^=].*", code)
        if match is not None:
            assert match[1] in KEYS, code


@each_page
def test_names_with_an_underscore_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    fenced = "".join(re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL))
    for code in in_code(text):
        if re.fullmatch(r"(?!wsdaemon_)[a-z]+(?:_[a-z]+)+", code) and code not in KEYS:  # metrics have a test of their own
            assert re.search(rf"\b{code}\b", sources() + fenced), code


def sources() -> str:
    if not _sources:
        found = [path for folder in ("wsdaemon", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
        _sources.append("\n".join(path.read_text("utf-8") for path in found if path != Path(__file__)))
    return _sources[0]


_sources: list[str] = []


# -- programs


@each_page
def test_python_blocks_compile_and_their_imports_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("wsdaemon"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


@each_page
def test_json_blocks_are_json(page: Path) -> None:
    decoder = json.JSONDecoder()
    for block in blocks(page, "json"):
        rest = block.strip()
        while rest:
            _, end = decoder.raw_decode(rest)
            rest = rest[end:].strip()


@each_page
def test_shell_blocks_are_well_formed(page: Path) -> None:
    for block in [*blocks(page, "sh"), *commands(page)]:
        done = subprocess.run(["bash", "-n", "-c", block], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@each_page
def test_commands_name_files_modules_and_extras_that_exist(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in commands(page):
        words = shlex.split(command, comments=True)
        for before, word, following in zip(["", *words], words, [*words[1:], ""], strict=False):
            if word == "-m" and "python" in before:
                assert importlib.util.find_spec(following) is not None, command
            if re.match(rf"(?:{'|'.join(re.escape(folder) for folder in FOLDERS)})/", word):
                assert (ROOT / word).exists(), command
            for extra in re.findall(r"^(?:\.|wsdaemon)\[([\w,]+)\]$", word):
                assert set(extra.split(",")) <= set(extras), command
            assert not (word == "wsdaemon" and before == "install"), f"no index has it: {command}"


@each_page
def test_twistd_commands_are_understood(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command.rpartition("&&")[2], comments=True)
        if not words or Path(words[0]).name != "twistd" or "wsdaemon" not in words:
            continue
        own = words[words.index("wsdaemon") + 1 :]
        flags = {"-c", *long_options(Options)}
        assert all(word in flags for word in own if word.startswith("-")), command


def long_options(options: Any) -> set[str]:
    """The long options of a Twisted command."""
    return {f"--{name.rstrip('=')}" for name in options().longOpt}


def known_options() -> set[str]:
    """The options of our commands, of twistd, and of the programs that the pages tell to run with them."""
    ours = long_options(ServerOptions) | long_options(Options)
    files = [*(ROOT / "benchmarks").glob("*.py"), ROOT / "wsdaemon" / "examples" / "__main__.py", ROOT / ".ci" / "run"]
    files += [ROOT / "tests" / "conformance" / "wstest.py"]
    named = {option for path in files for option in re.findall(r"--[a-z][a-z-]+", path.read_text())}
    return ours | named | FOREIGN_OPTIONS | {option for command in subcommands().values() for option in command}


def subcommands() -> dict[str, set[str]]:
    """The subcommands of `wsdaemon` with their options."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {
        name: {option for each in command.params if isinstance(each, click.Option) for option in (*each.opts, *each.secondary_opts)}
        for name, command in found.items()
        if command is not None
    }


@each_page
def test_wsdaemon_commands_are_understood(page: Path) -> None:
    known = subcommands()
    for command in commands(page):
        words = shlex.split(command, comments=True)
        for at, word in enumerate(words[:-1]):
            if word == "wsdaemon" and (at == 0 or words[at - 1] == "|") and not words[at + 1].startswith("-"):
                assert words[at + 1] in known, command
                assert {option for option in words[at + 2 :] if re.match(r"--?[a-z]", option)} <= known[words[at + 1]], command


@each_page
def test_options_in_the_text_exist(page: Path) -> None:
    known = known_options()
    for code in in_code(page.read_text("utf-8")):
        match = re.match(r"(--[a-z][a-z-]+)", code)
        assert match is None or match[1] in known, code


# -- files and links


@each_page
def test_files_in_the_text_exist(page: Path) -> None:
    for code in in_code(page.read_text("utf-8")):
        path = code.partition("::")[0]
        if re.fullmatch(rf"(?:{'|'.join(re.escape(folder) for folder in FOLDERS)})/[\w./-]*", path) and "*" not in path:
            assert (ROOT / path).exists() or (ROOT / "wsdaemon" / path).exists(), code


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        if re.match(r"https?://", link):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text())}
    linked |= {ROOT / "README.md", ROOT / "benchmarks" / "README.md"}
    assert {page for page in PAGES if page not in linked} == set()
