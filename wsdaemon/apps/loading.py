"""From the text of `app =` to an app: `module:function`, `module:Class`, or in Python the object itself."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

OPEN = "open(connection, handshake)"


class LoadError(Exception):
    """A mount's app, or the object that another `key` of it names, cannot be used. The text is for the author of the app or the settings.

    `reference` is the value of the key; `message` is the text without it.
    """

    def __init__(self, reference: str, message: str, key: str = "app") -> None:
        super().__init__(f"{reference}: {message}")
        self.reference = reference
        self.message = message
        self.key = key


def load(reference: str, key: str = "app") -> Any:
    """The object that `module:name` (or `module:name.attribute`) names. LoadError, with the user's traceback if it fails there.

    `key` is the mount's key that has the reference.
    """
    module_name, _, attributes = reference.partition(":")
    found: Any = _import(module_name, reference, key)
    for name in attributes.split("."):
        if not hasattr(found, name):
            close = (
                get_close_matches(name, [other for other in vars(found) if not other.startswith("_")], 1)
                if hasattr(found, "__dict__")
                else []
            )
            hint = f"; did you mean {close[0]}?" if close else ""
            raise LoadError(reference, f"there is no {name} in {getattr(found, '__name__', found)}{hint}", key)
        found = getattr(found, name)
    return found


def _import(module_name: str, reference: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise LoadError(reference, f"there is no module {error.name}; is its directory in [daemon] python_path?", key) from None
        raise LoadError(reference, _failed(error), key) from error
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise
        if _imports_autobahn_asyncio(error):
            raise LoadError(reference, OF_ASYNCIO, key) from error
        raise LoadError(reference, _failed(error), key) from error


OF_ASYNCIO = (
    "it is written for autobahn.asyncio, and this daemon runs Autobahn on Twisted: import WebSocketServerProtocol from "
    "autobahn.twisted.websocket, which has the same callbacks"
)


def _imports_autobahn_asyncio(error: BaseException) -> bool:
    """Whether the import of Autobahn's asyncio side failed: its txaio serves one framework in a process, and here that is Twisted."""
    inside = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, RuntimeError) and any(name.startswith("autobahn.asyncio") for name in inside)


def _failed(error: BaseException, headline: str = "the import failed") -> str:
    """The traceback from the user's module on: how it came to be imported is of no interest."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *traceback.format_exception_only(error)]
    return f"{headline}\n" + "".join(lines).rstrip()


def load_application(reference: object) -> Any:
    """The ASGI application of the mount's key `application`: `module:app`, `module:make_app()`, or in Python the application itself.

    LoadError, with the user's traceback if the function that makes it fails.
    """
    if not isinstance(reference, str):
        target, name = reference, getattr(reference, "__qualname__", repr(reference))
    else:
        name = reference
        target = load(reference.removesuffix("()"), "application")
        if reference.endswith("()"):
            try:
                target = target()
            except Exception as error:
                raise LoadError(reference, _failed(error, "the function could not be called"), "application") from error
    if not callable(target):
        message = f"a {type(target).__name__} is not an ASGI application: expected `async def app(scope, receive, send)`"
        raise LoadError(name, message, "application")
    if not takes(target, 3):
        hint = f"; did you mean {name}()?" if takes(target, 0) else ""
        raise LoadError(name, f"it does not take three arguments; expected `async def app(scope, receive, send)`{hint}", "application")
    return target


def make_app(target: Any, name: str, wrap: Callable[[Any], Any], wrap_plain: Callable[[Any], Any]) -> Any:
    """An app object from what was loaded: a function is wrapped, a class is called, an object with open() is one already.

    `wrap` makes an app of a coroutine function, `wrap_plain` of any other one. LoadError for anything else, and if the class cannot be
    called without arguments.
    """
    if inspect.isclass(target):
        refuse_class(target, name)
        if not takes(target, 0):
            raise LoadError(
                name, "its __init__() needs arguments; the daemon makes one object of the class for the mount, without arguments"
            )
        try:
            target = target()
        except Exception as error:
            raise LoadError(name, _failed(error, "the class could not be called")) from error
    if callable(getattr(target, "open", None)):
        check_open(target, name)
        return target
    return (wrap if is_coroutine_app(target, name) else wrap_plain)(target)


def refuse_class(target: type, name: str) -> None:
    """LoadError for a class whose objects are no apps."""
    if any(base.__module__.startswith("autobahn.asyncio") for base in target.__mro__):
        raise LoadError(name, OF_ASYNCIO)
    if not callable(getattr(target, "open", None)) and not is_coroutine_function(target.__call__):
        raise LoadError(name, f"the class has no {OPEN}, nor is it an Autobahn WebSocketServerProtocol")


def check_open(app: Any, name: str) -> None:
    """LoadError if the object's open() is not one that a mount can call."""
    if is_coroutine_function(app.open):
        raise LoadError(name, f"its open() is a coroutine function; expected a plain `def {OPEN}` that returns the session")
    if not takes(app.open, 2):
        raise LoadError(name, f"its open() does not take two arguments; expected {OPEN}")
    admit = getattr(app, "admit", None)
    if admit is not None and not (is_coroutine_function(admit) and takes(admit, 1)):
        raise LoadError(name, "its admit() is asked before each 101, so it must be `async def admit(handshake)`")


def is_coroutine_app(target: Any, name: str) -> bool:
    """Whether the target is `async def app(connection)`, or else `def app(connection)`, or an object that is called like one.

    LoadError if it is neither.
    """
    if not callable(target) or inspect.isclass(target):
        raise LoadError(name, f"a {type(target).__name__} is not an app: expected a function of one connection or a class with {OPEN}")
    coroutine = is_coroutine_function(target)
    expected = "`async def app(connection)`" if coroutine or inspect.isasyncgenfunction(target) else "`def app(connection)`"
    if inspect.isasyncgenfunction(target) or inspect.isgeneratorfunction(target):
        raise LoadError(name, f"its `yield` makes it a generator; expected {expected} that sends with connection.send()")
    if takes(target, 1):
        return coroutine
    if takes(target, 3):
        raise LoadError(name, f"it looks like an ASGI application: write app = asgi and application = {name}")
    raise LoadError(name, f"it cannot be called with one argument; expected {expected}")


def is_coroutine_function(target: Any) -> bool:
    """Whether a call of `target` makes a coroutine: an `async def`, or an object whose class has such a `__call__`."""
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None))  # noqa: B004


def takes(function: Any, count: int) -> bool:
    """Whether `function` can be called with `count` arguments. True if its signature is not known."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
