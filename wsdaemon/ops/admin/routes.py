"""The rows of the table of routes, and the look-up of a request's row. A row checks requests and describes them; see `table`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from ...settings.admin import TokenRole
from .contract import Page, PageProblem, PageRequest, RequestHead

Handler = Callable[[PageRequest], Page]
"""The function that answers."""

Schema = Mapping[str, Any]
"""JSON Schema. The checks know type, minimum, maximum, minLength, maxLength, pattern (of the whole text), default and title."""

MAX_FIELDS = 20
"""The most fields of a query string; a longer one is refused."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the path, a field of the query, or a header, with one value."""

    name: str
    where: Literal["path", "query", "header"]
    about: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    required: bool = False

    def read(self, text: str) -> Any:
        """The value in `text`. PageProblem 400."""
        kind = self.schema["type"]
        if kind == "boolean" and text in ("true", "false"):
            return text == "true"
        if kind == "integer" and re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
            number = int(text)
            if self.schema.get("minimum", 0) <= number <= self.schema.get("maximum", number):
                return number
        if kind == "string" and is_text(text, self.schema):
            return text
        raise PageProblem(400, "bad_parameter", f"{self.name}: expected {expected(self.schema)}.")


def is_text(value: object, schema: Schema) -> bool:
    """Whether `value` is text that the schema allows."""
    if not isinstance(value, str) or not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    return "pattern" not in schema or re.fullmatch(schema["pattern"], value) is not None


def expected(schema: Schema) -> str:
    """The demands of a schema, in words."""
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "integer":
        return f"a whole number from {schema.get('minimum', 0)}" + (f" to {schema['maximum']}" if "maximum" in schema else "")
    form: str = schema.get("title", "text")
    return form + (f" of up to {schema['maxLength']} characters" if "maxLength" in schema else "")


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a body. In an answer, `schema` None is text."""

    about: str
    content_type: str = "application/json"
    schema: Schema | None = None
    others: Mapping[str, Schema] = field(default_factory=dict)
    """Other contents, by content type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path. `{name}` stands for a whole segment, which may contain an encoded slash."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    name: str
    """The id of the operation in OpenAPI."""
    about: str
    open: bool = False
    """Whether no token is needed."""
    role: TokenRole = TokenRole.READ
    """The role that a token must have."""
    parameters: Sequence[Parameter] = ()
    body: Content | None = None
    answers: Mapping[int, Content]
    problems: Sequence[int] = ()
    """Statuses of problems in addition to those of every route."""

    def values(self, found: Mapping[str, str], head: RequestHead) -> dict[str, Any]:
        """The values of all given parameters, and the defaults of the others. PageProblem 400."""
        known = {parameter.name: parameter for parameter in self.parameters if parameter.where == "query"}
        values = {parameter.name: parameter.schema.get("default") for parameter in self.parameters}
        for name, text in _fields(head.query_string):
            if name not in known:
                expected = f"; the parameters here are {', '.join(known)}" if known else ""
                raise PageProblem(400, "bad_parameter", f"There is an unknown query parameter{expected}.")
            values[name] = known.pop(name).read(text)
        for parameter in self.parameters:
            if parameter.where == "path":
                values[parameter.name] = parameter.read(found[parameter.name])
            elif parameter.where == "header" and (lines := head.headers.get_all(parameter.name)):
                if len(lines) > 1:
                    raise PageProblem(400, "bad_parameter", f"{parameter.name}: expected one such header.")
                values[parameter.name] = parameter.read(lines[0])
        return values


def _fields(query_string: bytes) -> Iterable[tuple[str, str]]:
    """The fields of a query. A name that is given twice or unknown is refused; text is UTF-8."""
    if not query_string:
        return
    fields = query_string.split(b"&")
    if len(fields) > MAX_FIELDS:
        raise PageProblem(400, "bad_parameter", f"The query has more than {MAX_FIELDS} fields.")
    for one in fields:
        name, _, value = one.replace(b"+", b" ").partition(b"=")
        try:
            yield unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            raise PageProblem(400, "bad_parameter", "The query is not UTF-8.") from None


class Table:
    """All routes of a site, each with its function."""

    def __init__(self, pairs: Iterable[tuple[Route, Handler]]) -> None:
        self._rows = [(route, handler, route.path.split("/")) for route, handler in pairs]
        self._literal = {(route.method, route.path.encode()): (route, handler) for route, handler, _ in self._rows if "{" not in route.path}

    @property
    def routes(self) -> list[Route]:
        return [route for route, _, _ in self._rows]

    def find(self, head: RequestHead) -> tuple[Route, Handler, dict[str, str]]:
        """The route of a request, its function, and the segments with names. PageProblem 404, or 405 with the methods that exist."""
        method: Any = "GET" if head.method == "HEAD" else head.method
        row = self._literal.get((method, head.raw_path))
        if row is not None:
            return *row, {}
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in head.raw_path.split(b"/")]
        except UnicodeDecodeError:  # the edge refuses such paths
            raise PageProblem(400, "bad_path", "The path is not UTF-8.") from None
        allowed: list[str] = []
        for route, handler, pattern in self._rows:
            found = _match(pattern, segments)
            if found is not None:
                if route.method == method:
                    return route, handler, found
                allowed += ["GET", "HEAD"] if route.method == "GET" else [route.method]
        if allowed:
            raise PageProblem(405, "method", "This path does not know that method.", (("Allow", ", ".join(allowed)),))
        raise PageProblem(404, "no_page", "There is no such page; /openapi.json says which there are.")


def _match(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    found: dict[str, str] = {}
    for part, segment in zip(pattern, segments, strict=True):
        if part.startswith("{"):
            if not segment:
                return None
            found[part[1:-1]] = segment
        elif part != segment:
            return None
    return found
