"""Finds user code that needs Twisted's global reactor, which does not run beside a reactor of the daemon's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

FROM, MODULE, NAME = "twisted.internet", "twisted.internet.reactor", "reactor"

LIBRARIES = ("autobahn", "twisted", "wsdaemon", "builtins")


def needs_global_reactor(target: object, own: object) -> str | None:
    """The module that imports the global reactor, among those of `target`, a function or a class, and of its bases; None: no one does.

    None also if the global reactor is `own`, the one that the daemon runs on, or if it runs already, because the program runs it.
    """
    installed = sys.modules.get(MODULE)
    if installed is own or getattr(installed, "running", False):
        return None
    owners = target.__mro__ if isinstance(target, type) else (target,)
    for name in dict.fromkeys(getattr(owner, "__module__", "") for owner in owners):
        module = sys.modules.get(name)
        if module is not None and name.split(".")[0] not in LIBRARIES and _imports_it(module, installed):
            return name
    return None


def _imports_it(module: ModuleType, installed: object) -> bool:
    values = list(vars(module).values())
    if installed is not None and any(value is installed for value in values):
        return True
    return any(_in_code(code) for value in values for code in _codes(value, module.__name__))


def _codes(value: object, module: str) -> Iterator[CodeType]:
    """The code of a function, or of the methods of a class, that the module defines."""
    if getattr(value, "__module__", None) != module:
        return
    if isinstance(value, FunctionType):
        yield value.__code__
    elif isinstance(value, type):
        yield from (member.__code__ for member in vars(value).values() if isinstance(member, FunctionType))


def _in_code(code: CodeType) -> bool:
    """Whether the code has `from twisted.internet import reactor`, or uses `twisted.internet.reactor` otherwise."""
    names = code.co_names
    if MODULE in names or (FROM in names and NAME in names):
        return True
    return any(_in_code(constant) for constant in code.co_consts if isinstance(constant, CodeType))
