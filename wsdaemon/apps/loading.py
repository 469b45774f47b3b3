"""From what `app =` says to an app: `module:function`, `module:Class`, or in Python the object itself."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from types import ModuleType
from typing import Any


class LoadError(Exception):
    """The app of a mount cannot be loaded; the text is for whoever wrote the app or the settings."""


def load(reference: str) -> Any:
    """The object that `module:name` (or `module:name.attribute`) names. LoadError, with the user's traceback if it fails there."""
    module_name, _, attributes = reference.partition(":")
    found: Any = _import(module_name, reference)
    for name in attributes.split("."):
        if not hasattr(found, name):
            close = (
                get_close_matches(name, [other for other in vars(found) if not other.startswith("_")], 1)
                if hasattr(found, "__dict__")
                else []
            )
            hint = f"; did you mean {close[0]}?" if close else ""
            raise LoadError(f"{reference}: there is no {name} in {getattr(found, '__name__', found)}{hint}")
        found = getattr(found, name)
    return found


def _import(module_name: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise LoadError(f"{reference}: there is no module {error.name}; is its directory in [daemon] python_path?") from None
        raise LoadError(_failed(reference, error)) from error
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise
        raise LoadError(_failed(reference, error)) from error


def _failed(reference: str, error: BaseException) -> str:
    """The traceback from the user's module on: how it came to be imported is of no interest."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *traceback.format_exception_only(error)]
    return f"{reference}: the import failed\n" + "".join(lines).rstrip()


def make_app(target: Any, name: str, wrap: Callable[[Any], Any]) -> Any:
    """An app object from what was loaded: a coroutine function is wrapped, a class is called, an object with open() is one already.

    `wrap` makes an app of a coroutine function. LoadError for anything else, and when the class cannot be called without arguments.
    """
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None)):  # noqa: B004
        return wrap(target)
    if inspect.isclass(target):
        if not callable(getattr(target, "open", None)):
            raise LoadError(f"{name}: the class has no open(connection, handshake), nor is it an Autobahn WebSocketServerProtocol")
        try:
            return target()
        except Exception as error:
            raise LoadError(_failed(name, error)) from error
    if callable(getattr(target, "open", None)):
        return target
    if callable(target):
        raise LoadError(f"{name}: expected a coroutine function: write `async def`, or a class with open(connection, handshake)")
    raise LoadError(
        f"{name}: a {type(target).__name__} is not an app: expected a coroutine function or a class with open(connection, handshake)"
    )
