"""settings/asgi.py: the options of the app asgi."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.settings.asgi import ApplicationForm, AsgiOptions
from wsdaemon.settings.build import build, section
from wsdaemon.settings.problems import BadValue, SettingsError

FORM = ApplicationForm()
LISTENER = section("listener:web", address="tcp:0")


@pytest.mark.parametrize(
    ("text", "value"),
    [("project.asgi:application", "project.asgi:application"), ("m:make()", "m:make()"), ("m:make( )", "m:make()"), ("m:a.b", "m:a.b")],
)
def test_references(text: str, value: str) -> None:
    assert FORM.parse(text) == value
    assert FORM.show(value) == value


@pytest.mark.parametrize("text", ["module", "module.app", "m:make(1)", "m:()", "m:make()()", "m:class"])
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(BadValue, match=r"module:app, or module:make_app\(\)"):
        FORM.parse(text)


def test_in_python_it_may_be_the_application_itself() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    settings = build([LISTENER, section("mount:/a", app="asgi", application=app)], "test")
    assert settings.mounts[0].options == AsgiOptions(application=app)
    with pytest.raises(BadValue):
        FORM.accept(5)


def test_the_application_is_required_here_or_in_the_defaults() -> None:
    with pytest.raises(SettingsError, match="application: missing key; expected module:app"):
        build([LISTENER, section("mount:/a", app="asgi")], "test")
    settings = build([LISTENER, section("defaults", application="m:a"), section("mount:/a", app="asgi")], "test")
    assert settings.mounts[0].options == AsgiOptions(application="m:a")
