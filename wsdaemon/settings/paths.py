"""Path patterns of mounts: `/chat`, `/rooms/{name}`, `/api/{rest...}`. This module checks their syntax; the router matches them."""

from __future__ import annotations

import re

from wsdaemon.settings.form import has_control_characters
from wsdaemon.settings.problems import BadValue


def check_path(pattern: str) -> str:
    """Return `pattern` if it is a good path pattern, else raise BadValue.

    A pattern starts with a slash and is compared with the decoded path, so it is written decoded as well. A parameter is a
    whole segment, `{name}`, with the name an identifier that stands in it once. The last segment may be a rest, `{name...}`. A pattern may
    end in a slash, but has no empty, `.` or `..` segments, because clients remove those before they send the request.
    """
    if not pattern.startswith("/"):
        raise BadValue("expected a path that starts with /, such as [mount:/chat] or [mount:/rooms/{name}]")
    if has_control_characters(pattern) or any(character in pattern for character in "?#,\\"):
        raise BadValue("expected a path without ? # , \\ and control characters")
    if pattern != pattern.strip():
        raise BadValue("expected a path without blanks at its end")
    if re.search(r"%[0-9A-Fa-f]{2}", pattern):
        raise BadValue("expected a path as it reads when decoded, without %XX escapes")
    segments = pattern[1:].split("/")
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        raise BadValue("expected a path without empty, . and .. segments")
    names: list[str] = []
    for index, segment in enumerate(segments):
        if "{" not in segment and "}" not in segment:
            continue
        name = segment[1:-1]
        if name.endswith("..."):
            name = name[:-3]
            if index < len(segments) - 1:
                raise BadValue(f"expected {segment} as the last segment, because it takes all the rest of a path")
        if not (segment.startswith("{") and segment.endswith("}")) or "{" in name or "}" in name:
            raise BadValue(f"expected each parameter as a whole segment, such as /{{name}}, not {segment}")
        if not (name.isascii() and name.isidentifier()):
            raise BadValue(f"expected the name of a parameter in ASCII letters, digits and _, not {segment}")
        if name in names:
            raise BadValue(f"expected each parameter only once; {segment} is there twice")
        names.append(name)
    return pattern


def parameters(pattern: str) -> tuple[str, ...]:
    """The names of its parameters, in order."""
    return tuple(segment[1:-1].removesuffix("...") for segment in pattern.split("/") if segment.startswith("{"))


def path_shape(pattern: str) -> str:
    """The pattern without the names of its parameters: two patterns of one shape match the same paths."""
    return "/".join(re.sub(r"^\{\w+", "{", segment) for segment in pattern.split("/"))
