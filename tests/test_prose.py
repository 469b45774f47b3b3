"""Comments, docstrings, messages and docs have nouns as subjects. `tests.support.prose` has the rules.

If this test refuses a sentence, make its subject the thing that acts: a client, a mount, the daemon.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.prose import RULES, findings, sentences, texts

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("wsdaemon", "twisted", "docs", "etc", "examples", "systemd", "benchmarks", "tests")
SUFFIXES = {".py", ".pyi", ".md", ".ini", ".c", ".h", ".service", ".socket", ".logrotate"}

NOT_YET_CLEAN: set[str] = set()
"""Files and folders whose sentences are still to be rewritten. The list may only shrink."""


def prose_files() -> list[Path]:
    """The files that the rules apply to."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    found += [path for path in ROOT.iterdir() if path.suffix in SUFFIXES]
    return sorted(found)


def listed(path: Path) -> bool:
    name = str(path.relative_to(ROOT))
    return any(name == entry or (entry.endswith("/") and name.startswith(entry)) for entry in NOT_YET_CLEAN)


def shown(path: Path) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{found.line}: expected {found.rule}: {found.text}" for found in findings(path)]


def test_every_sentence_has_a_noun_as_its_subject() -> None:
    problems = [line for path in prose_files() if not listed(path) for line in shown(path)]
    assert not problems, "\n".join(problems)


def test_the_list_of_files_that_are_not_clean_only_shrinks() -> None:
    unclean = [str(path.relative_to(ROOT)) for path in prose_files() if listed(path) and findings(path)]
    clean = {entry for entry in NOT_YET_CLEAN if not any(name.startswith(entry) for name in unclean)}
    assert not clean, "clean by now, remove from NOT_YET_CLEAN: " + ", ".join(sorted(clean))


REFUSED = (
    "What becomes of more says slow_client.",
    "Open it; what becomes of it is the mount's choice.",
    "Whoever comes after that is answered 503.",
    "It waits until nobody reads.",
    "Who may publish.",
    "what it does",
    "It is dropped, for it is too slow.",
    "It is loaded late, for the cryptography behind it is a fifth of the memory.",
    "Both are closed, for those are the last.",
)

ACCEPTED = (
    "`slow_client` decides what happens above this.",
    "The daemon closes a client that is too slow.",
    "What does the operator see?",
    "The app finds out who the client is.",
    "The app asks, for each connection, how much it may send.",
    "Messages wait, for up to a minute, until the client reads.",
    "The limits of a listener, for that listener alone.",
    'Answers "nobody is here" when the room is empty.',
    "Runs `whoever()` at the end.",
    "Closed, for the reasons above.",
)


@pytest.mark.parametrize("text", REFUSED)
def test_sentences_that_the_rules_refuse(text: str) -> None:
    assert [rule for sentence in sentences(text) for rule, pattern in RULES.items() if pattern.search(sentence)]


@pytest.mark.parametrize("text", ACCEPTED)
def test_sentences_that_the_rules_accept(text: str) -> None:
    assert not [rule for sentence in sentences(text) for rule, pattern in RULES.items() if pattern.search(sentence)]


SAMPLE = '''
"""Docstring of the module."""

LIMIT = 3
"""Docstring of an attribute."""
# A comment
# of two lines.
value = field(explain("A help text."))  # behind a line


def serve(log, name):
    log.warn("a log line")
    raise ValueError(f"an error of {name}")
'''


def test_the_texts_of_a_python_file(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE)
    assert sorted(text for _, text in texts(path)) == [
        "A comment of two lines.",
        "A help text.",
        "Docstring of an attribute.",
        "Docstring of the module.",
        "a log line",
        "an error of `x`",
        "behind a line",
    ]


def test_the_texts_of_other_files(tmp_path: Path) -> None:
    samples = {
        "page.md": (
            "# Title\n\nOne\ntwo.\n```sh\ncode\n```\n- item\n  more\n\n| cell | other |\n",
            ["Title", "One two.", "item   more", " cell ", " other "],
        ),
        "ws.ini": ("# One\n# two.\nkey = 1\n; three\n", ["One two.", "three"]),
        "code.c": ("/* one */ int a; // two\n", [" one ", " two"]),
    }
    for name, (content, expected) in samples.items():
        (tmp_path / name).write_text(content)
        assert [text for _, text in texts(tmp_path / name)] == expected
