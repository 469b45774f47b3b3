"""apps/loading.py: from `app =` to an app, and the messages for its author if that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.apps.loading import LoadError, load, load_application, make_app


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory on the module path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(directory: Path, name: str, source: str) -> None:
    (directory / f"{name}.py").write_text(source)


def problem(reference: str) -> str:
    with pytest.raises(LoadError) as raised:
        load(reference)
    return str(raised.value)


def test_a_name_in_a_module(modules: Path) -> None:
    write(modules, "app_one", "async def chat(connection): ...\nclass Inner:\n    value = 5\n")
    assert load("app_one:chat").__name__ == "chat"
    assert load("app_one:Inner.value") == 5


def test_a_module_in_a_package(modules: Path) -> None:
    (modules / "app_package").mkdir()
    write(modules / "app_package", "__init__", "")
    write(modules / "app_package", "inner", "thing = 1\n")
    assert load("app_package.inner:thing") == 1


@pytest.mark.parametrize("name", ["app_nowhere", "app_nowhere.inner"])
def test_no_such_module(modules: Path, name: str) -> None:
    assert problem(f"{name}:chat") == f"{name}:chat: there is no module app_nowhere; is its directory in [daemon] python_path?"


def test_no_such_name(modules: Path) -> None:
    write(modules, "app_two", "def chat(): ...\n")
    assert problem("app_two:chta") == "app_two:chta: there is no chta in app_two; did you mean chat?"
    assert problem("app_two:zzz") == "app_two:zzz: there is no zzz in app_two"
    assert problem("app_two:chat.x").startswith("app_two:chat.x: there is no x in chat")


def test_a_module_that_fails_shows_the_users_traceback_and_none_of_ours(modules: Path) -> None:
    write(modules, "app_three", "def check():\n    raise RuntimeError('mine')\n\ncheck()\n")
    text = problem("app_three:chat")
    assert text.startswith("app_three:chat: the import failed\nTraceback (most recent call last):\n")
    assert text.endswith("RuntimeError: mine")
    assert "app_three.py" in text
    assert "in check" in text
    assert "loading.py" not in text
    assert "importlib" not in text


def test_a_module_that_needs_another_that_is_missing(modules: Path) -> None:
    """Not the same as a missing module: the user's own import is what to look at."""
    write(modules, "app_four", "import app_missing\n")
    text = problem("app_four:chat")
    assert "import app_missing" in text
    assert "No module named 'app_missing'" in text


@pytest.mark.parametrize("source", ["def broken(:\n", "raise SystemExit(3)\n", "import sys; sys.exit('no')\n"])
def test_a_module_that_cannot_be_imported(modules: Path, source: str) -> None:
    write(modules, "app_five", source)
    assert problem("app_five:chat").startswith("app_five:chat: the import failed\n")


def test_an_interrupt_is_not_a_fault_of_the_module(modules: Path) -> None:
    write(modules, "app_six", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("app_six:chat")


# -- what an app can be


async def coroutine_function(connection: object) -> None: ...


def plain_function(connection: object) -> None: ...


class CallableObject:
    async def __call__(self, connection: object) -> None: ...


class PlainCallable:
    def __call__(self, connection: object) -> None: ...

    def method(self, connection: object) -> None: ...


class AppClass:
    def open(self, connection: object, handshake: object) -> None: ...


class NeedsArguments(AppClass):
    def __init__(self, argument: object) -> None: ...


class FailingClass(AppClass):
    def __init__(self) -> None:
        raise RuntimeError("mine")


class NotAnApp:
    """It has no open()."""


def make(target: Any) -> Any:
    return make_app(target, "m:x", lambda function: ("wrapped", function), lambda function: ("in threads", function))


def test_coroutine_functions_are_wrapped() -> None:
    assert make(coroutine_function) == ("wrapped", coroutine_function)
    thing = CallableObject()
    assert make(thing) == ("wrapped", thing)


def test_plain_functions_run_in_threads() -> None:
    thing = PlainCallable()
    for target in (plain_function, thing, thing.method):
        assert make(target) == ("in threads", target)


def test_classes_are_called_and_objects_taken() -> None:
    assert isinstance(make(AppClass), AppClass)
    app = AppClass()
    assert make(app) is app


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (NotAnApp, "m:x: the class has no open(connection, handshake), nor is it an Autobahn WebSocketServerProtocol"),
        (5, "m:x: a int is not an app: expected a function of one connection or a class with open(connection, handshake)"),
    ],
)
def test_what_is_not_an_app(target: object, text: str) -> None:
    with pytest.raises(LoadError) as raised:
        make(target)
    assert str(raised.value) == text


def test_a_class_that_cannot_be_called() -> None:
    with pytest.raises(LoadError) as raised:
        make(NeedsArguments)
    assert str(raised.value) == (
        "m:x: its __init__() needs arguments; the daemon makes one object of the class for the mount, without arguments"
    )
    with pytest.raises(LoadError) as raised:
        make(FailingClass)
    assert str(raised.value).startswith("m:x: the class could not be called\nTraceback (most recent call last):\n")
    assert str(raised.value).endswith("RuntimeError: mine")


# -- objects that look like apps


class Asgi:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


async def asgi(scope: object, receive: object, send: object) -> None: ...


async def generator(connection: object) -> Any:
    yield


def plain_generator(connection: object) -> Any:
    yield


def wsgi(environ: object, start_response: object) -> None: ...


def no_arguments() -> None: ...


class AsyncOpen:
    async def open(self, connection: object, handshake: object) -> None: ...


class OneArgument:
    def open(self, connection: object) -> None: ...


class PlainAdmit:
    def open(self, connection: object, handshake: object) -> None: ...

    def admit(self, handshake: object) -> None: ...


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Asgi, "it looks like an ASGI application"),
        (Asgi(), "it looks like an ASGI application"),
        (asgi, "it looks like an ASGI application"),
        (generator, "its `yield` makes it a generator; expected `async def app"),
        (plain_generator, "its `yield` makes it a generator; expected `def app"),
        (wsgi, "it cannot be called with one argument; expected `def app"),
        (no_arguments, "it cannot be called with one argument; expected `def app"),
        (AsyncOpen, "its open() is a coroutine function"),
        (AsyncOpen(), "its open() is a coroutine function"),
        (OneArgument, "its open() does not take two arguments"),
        (PlainAdmit, "its admit() is asked before each 101, so it must be `async def admit(handshake)`"),
        (object(), "a object is not an app"),
    ],
)
def test_objects_that_look_like_apps(target: Any, message: str) -> None:
    with pytest.raises(LoadError) as raised:
        make(target)
    assert raised.value.message.startswith(message)


def test_an_asyncio_class_of_autobahns_is_refused_with_a_sentence(modules: Path) -> None:
    """Its own import fails where Twisted is in use, with an error that names neither the class nor the way out."""
    import txaio

    txaio.use_twisted()
    write(modules, "app_asyncio", "from autobahn.asyncio.websocket import WebSocketServerProtocol\n")
    assert "it is written for autobahn.asyncio" in problem("app_asyncio:Chat")
    elsewhere = type("Protocol", (), {"__module__": "autobahn.asyncio.websocket"})
    with pytest.raises(LoadError, match=r"it is written for autobahn\.asyncio"):
        make(type("Chat", (elsewhere,), {}))


# -- ASGI applications


def test_an_asgi_application_by_name_and_by_function(modules: Path) -> None:
    (modules / "asgi_project.py").write_text("async def app(scope, receive, send): ...\ndef make(): return app\n")
    found = load_application("asgi_project:app")
    assert load_application("asgi_project:make()") is found
    assert load_application(found) is found


ASGI_FAULTS = {
    "asgi_faults:nothing": "there is no nothing in asgi_faults",
    "asgi_faults:make": "it does not take three arguments; .* did you mean asgi_faults:make[(][)]?",
    "asgi_faults:number": "a int is not an ASGI application",
    "asgi_faults:old": "it does not take three arguments",
    "asgi_faults:fails()": "the function could not be called\nTraceback .*\n.*asgi_faults.*\n.*raise ValueError.*\nValueError: mine",
    "asgi_faults:number()": "the function could not be called",
}


@pytest.mark.parametrize("reference", ASGI_FAULTS)
def test_objects_that_are_no_asgi_application(modules: Path, reference: str) -> None:
    lines = ["number = 5", "def make(): return None", "def old(scope): ...", "def fails():", "    raise ValueError('mine')"]
    (modules / "asgi_faults.py").write_text("\n".join(lines))
    with pytest.raises(LoadError, match=f"(?s){ASGI_FAULTS[reference]}") as raised:
        load_application(reference)
    assert raised.value.key == "application"
