"""Wildcard subscriptions: the syntax of patterns, their matches, and an index of many.

The convention is that of NATS subjects. A name is cut into tokens at its dots. In a pattern the token `*` stands for exactly one token,
whatever it is, and `>`, as the last token, for one or more. So `prices.*` matches `prices.eur`, not `prices` and not `prices.eur.spot`;
`prices.>` matches `prices.eur` and `prices.eur.spot`, not `prices`; `>` matches every room. Wildcards are whole tokens: `pri*` is no
pattern. Tokens are compared exactly; unlike with NATS a token may be empty, and `*` matches that too. No room name holds `*` or `>`.

A pattern has up to MAX_TOKENS tokens. A name may have more, but a look-up does not go beyond the last token of the longest pattern. That
bounds the work, whatever patterns there are. Adding or removing a pattern touches MAX_TOKENS nodes of the index. A look-up visits fewer
than 2 ** (MAX_TOKENS + 1) nodes (2047), and then adds every subscription that matches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from . import Limits
from .contract import MAX_PAGE
from .errors import BadPattern, BadRoom, TooManyRooms

T = TypeVar("T")

MAX_PATTERN = 256
"""The longest pattern, in bytes of UTF-8."""

MAX_TOKENS = 10
"""The most tokens of a pattern. Each token more doubles the paths that can match one name."""


def check_pattern(pattern: str) -> None:
    """Raise BadPattern unless this is a pattern. A name without a wildcard is a pattern too."""
    if not pattern or not fits(pattern, MAX_PATTERN):
        raise BadPattern(f"a pattern is text of 1 to {MAX_PATTERN} bytes")
    tokens = pattern.split(".")
    if len(tokens) > MAX_TOKENS:
        raise BadPattern(f"a pattern has up to {MAX_TOKENS} tokens; '>' stands for any number more")
    if ">" in tokens[:-1]:
        raise BadPattern("'>' can only be the last token of a pattern")
    for token in tokens:
        if len(token) > 1 and ("*" in token or ">" in token):
            raise BadPattern("a wildcard is a whole token: 'prices.*' or 'prices.>'")


def check_known(pattern: str, rooms: Collection[str]) -> None:
    """Raise TooManyRooms or BadRoom unless one subscription to the pattern can recover these rooms."""
    if len(rooms) > MAX_PAGE:
        raise TooManyRooms(f"a pattern subscription recovers up to {MAX_PAGE} rooms")
    for name in rooms:
        if not matches(pattern, name):
            raise BadRoom("the pattern does not match a room that is to be recovered")


def check_room(name: str, limits: Limits) -> None:
    """Raise BadRoom unless the limits allow this room name."""
    if not name or not fits(name, limits.max_name):
        raise BadRoom(f"a room name is text of 1 to {limits.max_name} bytes")
    if "*" in name or ">" in name or not limits.name_pattern.fullmatch(name):
        raise BadRoom("not a room name that is allowed here")


def fits(text: str, limit: int) -> bool:
    """Whether text is UTF-8 of at most `limit` bytes. A lone surrogate, which JSON text can hold, is not UTF-8."""
    if len(text) > limit:
        return False
    try:
        return len(text.encode()) <= limit
    except UnicodeEncodeError:
        return False


def matches(pattern: str, name: str) -> bool:
    """Whether one pattern matches one name."""
    wanted = pattern.split(".")
    tokens = name.split(".", len(wanted))  # one token more shows that the name is longer
    if wanted[-1] == ">":
        if len(tokens) < len(wanted):
            return False
        wanted.pop()
    elif len(tokens) != len(wanted):
        return False
    return all(want in ("*", token) for want, token in zip(wanted, tokens, strict=False))


class _TokenNode(Generic[T]):
    """A node of the index. `below`: the nodes of the next token. `here`: the subscribers of the pattern that ends here, by id."""

    __slots__ = ("below", "here")

    def __init__(self) -> None:
        self.below: dict[str, _TokenNode[T]] | None = None
        self.here: dict[str, T] | None = None


class PatternIndex(Generic[T]):
    """The subscribers of patterns, as a tree of tokens. The cost of a look-up grows with the depth of the tree, not with its patterns.

    At each token a look-up follows at most two paths, the token's own and that of `*`, so it visits at most 2 ** n nodes of level n.
    `version` grows with every change; the result of a look-up is good until then.
    """

    __slots__ = ("_count", "_root", "version")

    def __init__(self) -> None:
        self._root: _TokenNode[T] = _TokenNode()
        self._count = 0
        self.version = 0

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return self._count

    def clear(self) -> None:
        """Remove all subscriptions."""
        self._root = _TokenNode()
        self._count = 0
        self.version += 1

    def add(self, pattern: str, key: str, value: T) -> None:
        """Subscribe `value` under `key` to a pattern that was checked. The same key again replaces its value."""
        node = self._root
        for token in pattern.split("."):
            if node.below is None:
                node.below = {}
            found = node.below.get(token)
            if found is None:
                found = node.below[token] = _TokenNode()
            node = found
        if node.here is None:
            node.here = {}
        self._count += key not in node.here
        node.here[key] = value
        self.version += 1

    def remove(self, pattern: str, key: str) -> None:
        """Remove one subscription, and the nodes that only it needed. KeyError if it does not exist."""
        tokens = pattern.split(".")
        path = [self._root]
        for token in tokens:
            path.append((path[-1].below or {})[token])
        here = path[-1].here or {}
        del here[key]
        self._count -= 1
        self.version += 1
        if not here:
            path[-1].here = None
        while tokens and path[-1].here is None and not path[-1].below:
            path.pop()
            below = path[-1].below or {}
            del below[tokens.pop()]

    def match(self, name: str) -> dict[str, T]:
        """The subscribers with at least one pattern that matches the name, by key, each once."""
        found: dict[str, T] = {}
        for here in self._matching(name.split(".", MAX_TOKENS)):
            found.update(here)
        return found

    def _matching(self, tokens: list[str]) -> Iterator[dict[str, T]]:
        level = [self._root]
        for token in tokens:
            following: list[_TokenNode[T]] = []
            for node in level:
                below = node.below
                if below is None:
                    continue
                if (found := below.get(token)) is not None:
                    following.append(found)
                if (found := below.get("*")) is not None:
                    following.append(found)
                if (found := below.get(">")) is not None and found.here is not None:
                    yield found.here
            if not following:
                return
            level = following
        for node in level:
            if node.here is not None:
                yield node.here
