"""The wording of comments, docstrings, messages and docs: the texts of a file, and the rules that each sentence must meet.

Subjects are nouns of the project, so that a reader never reads a sentence twice. Code in backquotes and quotations are not judged.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOG_METHODS = {"debug", "info", "warn", "warning", "error", "critical", "failure"}
EXPLAINING = {"explain"}

_VERB = r"(?:is|are|was|were|has|have|had|can|cannot|may|must|does|do|did|would|will|could|needs?|makes?|gives?|takes?|comes?|goes)"
_NOUN = r"(?:(?!that\b|which\b|who\b|to\b|as\b|if\b|when\b|where\b|and\b|or\b|in\b|of\b|at\b|on\b|with\b)[\w'`.-]+ ){1,3}"

RULES = {
    "a noun as the subject instead of what, who or whom": re.compile(
        r"(?:^|[.:;] )(?:What|Who|Whom|Whose)\b(?![^.]*\?)|^(?:what|who|whom)\b(?![^.]*\?)"
    ),
    "a noun instead of whoever, nobody or somebody": re.compile(r"\b(?:who(?:m)?ever|nobody|somebody)\b", re.IGNORECASE),
    '"decides what happens to" instead of "what becomes of"': re.compile(r"\bwhat (?:becomes?|became) of\b", re.IGNORECASE),
    '"because" instead of "for"': re.compile(
        rf"[,;] for (?:(?:it|they|he|she|we|you|there|nothing) (?!alone\b)|(?:that|those|these|this) {_VERB}\b"
        rf"|(?:the|a|an|its|their|our|your|most|no|each|every|one|only|many|such|both|some|any|all) {_NOUN}{_VERB}\b)",
        re.IGNORECASE,
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence that breaks a rule."""

    line: int
    rule: str
    text: str


def findings(path: Path) -> list[Finding]:
    """The sentences of a file that break a rule, in the order of the file."""
    found = []
    for line, text in texts(path):
        for sentence in sentences(text):
            found += [Finding(line, rule, sentence) for rule, pattern in RULES.items() if pattern.search(sentence)]
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text; code and quotations are replaced by a word."""
    plain = re.sub(r"``?[^`]*``?", "`x`", " ".join(text.split()))
    plain = re.sub(r'"[^"]*"', '"x"', plain)
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+(?=[A-Z`\"])", plain) if part.strip()]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file, each with its first line."""
    content = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py" | ".pyi":
            yield from _of_python(content)
        case ".md":
            yield from _of_markdown(content)
        case ".c" | ".h":
            for match in re.finditer(r"/\*(.*?)\*/|//([^\n]*)", content, re.DOTALL):
                yield content.count("\n", 0, match.start()) + 1, re.sub(r"(?m)^\s*\*+", " ", match[1] or match[2] or "")
        case _:
            yield from _of_comments(content)


def _of_python(content: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(content)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            # Docstrings, those of attributes included. A blank line ends a text.
            line = node.lineno
            for part in re.split(r"\n\s*\n", node.value.value):
                yield line, part
                line += part.count("\n") + 2
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from ((node.lineno, text) for argument in node.exc.args for text in _literal(argument))
        elif isinstance(node, ast.Call) and node.args and _speaks(node.func):
            yield from ((node.lineno, text) for text in _literal(node.args[0]))
    yield from _of_python_comments(content)


def _speaks(function: ast.expr) -> bool:
    """Whether a call's first argument is a log line or a help text."""
    if isinstance(function, ast.Attribute):
        return function.attr in LOG_METHODS
    return isinstance(function, ast.Name) and function.id in EXPLAINING


def _literal(node: ast.expr) -> Iterator[str]:
    """The text of a literal; values in an f-string are replaced by a word."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "`x`" for part in node.values)


def _of_python_comments(content: str) -> Iterator[tuple[int, str]]:
    """Comments on lines of their own are one text while they follow each other."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(?:noqa|type:|fmt:|!|mypy)", token.string):
            continue
        text, line = token.string.lstrip("#: ").split("# noqa")[0], token.start[0]
        alone = not token.line[: token.start[1]].strip()
        if block and alone and line == last + 1:
            block.append(text)
        else:
            if block:
                yield first, " ".join(block)
            block, first = [text], line
        last = line if alone else -1
    if block:
        yield first, " ".join(block)


def _of_markdown(content: str) -> Iterator[tuple[int, str]]:
    fenced = False
    block: list[str] = []
    first = 0
    for number, line in enumerate([*content.splitlines(), ""], start=1):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            continue
        elif line.startswith("|"):
            yield from ((number, cell) for cell in line.strip("|").split("|"))
        elif line.startswith("#"):
            yield number, line.lstrip("# ")
        elif line.strip() and not line.startswith(("- ", "* ", "<!--")):
            first = first if block else number
            block.append(re.sub(r"\]\([^)]*\)", "]", line))
            continue
        if block:
            yield first, " ".join(block)
            block = []
        if line.startswith(("- ", "* ")):
            block, first = [re.sub(r"\]\([^)]*\)", "]", line[2:])], number


def _of_comments(content: str) -> Iterator[tuple[int, str]]:
    """Comments that begin with #, as in INI files and shell scripts. Lines that follow each other are one text."""
    block: list[str] = []
    for number, line in enumerate([*content.splitlines(), ""], start=1):
        if line.startswith(("# ", "; ")):
            block.append(line.lstrip("#; "))
        elif block:
            yield number - len(block), " ".join(block)
            block = []


def in_code(page: str) -> list[str]:
    """The pieces of a Markdown page in backquotes, outside its fenced blocks."""
    plain = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", plain)]
