"""The OpenAPI 3.1 document, made from the table of routes."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from .contract import PROBLEM, Answer, as_json
from .routes import Content, Parameter, Route

PROBLEM_SCHEMA = {
    "type": "object",
    "description": "A problem (RFC 9457). `code` does not change between versions.",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
    "required": ["title", "status", "code", "detail"],
}

SCHEME_ABOUT = "The token of token_file, or that of a section [token:NAME] with the role."

EVERYWHERE = (400, 405, 408, 414, 431, 503)
"""Statuses of problems that any request may meet."""


def document(routes: Iterable[Route], version: str) -> Answer:
    """The document, as it is served."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        if route.method == "GET":
            paths[route.path]["head"] = _head(_operation(route))
    return as_json(
        {
            "openapi": "3.1.0",
            "info": {"title": "wsdaemon admin", "version": version, "description": "Health, metrics, and publishing from outside."},
            "paths": paths,
            "components": {
                "schemas": {"Problem": PROBLEM_SCHEMA},
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": SCHEME_ABOUT}},
            },
        }
    )


def _operation(route: Route) -> dict[str, Any]:
    responses = {str(status): _response(content) for status, content in route.answers.items()}
    also = {*EVERYWHERE, *route.problems, *(() if route.open else (401, 403)), *((413,) if route.body else ())}
    for status in sorted(also):
        if str(status) in responses:
            responses[str(status)]["content"] |= _problem()
        else:
            responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": _problem()}
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.about, "responses": responses}
    operation["security"] = [] if route.open else [{"token": [route.role.value]}]
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.body is not None:
        operation["requestBody"] = {"description": route.body.about, "required": True, "content": _content(route.body)}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    required = parameter.required or parameter.where == "path"
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.about,
        "required": required,
        "schema": dict(parameter.schema),
    }


def _response(content: Content) -> dict[str, Any]:
    return {"description": content.about, "content": _content(content)}


def _content(content: Content) -> dict[str, Any]:
    schema = {"type": "string"} if content.schema is None else content.schema
    return {kind: {"schema": dict(one)} for kind, one in {content.content_type: schema, **content.others}.items()}


def _problem() -> dict[str, Any]:
    return {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def _head(operation: dict[str, Any]) -> dict[str, Any]:
    """The same without bodies in the answers."""
    responses = {status: {"description": response["description"]} for status, response in operation["responses"].items()}
    return {**operation, "operationId": f"{operation['operationId']}_head", "responses": responses}
