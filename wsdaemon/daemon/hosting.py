"""From the settings of a mount to the app that hosts other programs and servers there."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.logger import Logger

from ..apps.loading import LoadError
from ..apps.process import ProcessApp, ProcessRules, SharedApp, SharedRules
from ..apps.process.child import Launch, limits
from ..apps.process.environment import base_environment
from ..apps.process.framing import Framing, JsonLines, Lines, Netstrings, Plain
from ..core.contract import Failed
from ..settings.model import MountSettings
from ..settings.process import Command, ProcessOptions
from ..version import __version__
from .bridges import check_nothing_is_dropped

SOFTWARE = f"wsdaemon/{__version__}"

NO_COMMAND = Command("false", ("/bin/false",))
"""In the place of a command that is reported already: --check goes on, to find the other problems."""


def make_process(
    settings: MountSettings, failed: Failed, grace: Callable[[], float], brokers: object = None
) -> ProcessApp | SharedApp:  # fmt: skip
    """The app process. LoadError if the command cannot be run, or the output of a client's own program might be dropped."""
    options = cast(ProcessOptions, settings.options)
    if not options.shared:  # each message of a shared program is whole in itself, and for all clients
        check_nothing_is_dropped(settings)
    environment = base_environment(options.environment, os.environ)
    launch = make_launch(options, environment)
    if options.shared:
        shared = SharedRules(mount=settings.path, launch=launch, environment=environment, max_output=options.max_output)
        return SharedApp(shared, Logger(namespace="wsdaemon.process"))
    rules = ProcessRules(
        mount=settings.path,
        launch=launch,
        environment=environment,
        framing=make_framing(options),
        software=SOFTWARE,
        max_processes=options.max_processes,
        refuse_status=options.refuse_status,
        start_timeout=options.start_timeout,
        exit_codes=options.exit_codes,
    )
    return ProcessApp(rules, Logger(namespace="wsdaemon.process"))


def make_launch(options: ProcessOptions, environment: Mapping[bytes, bytes]) -> Launch:
    """The way to start the command. LoadError if there is no such program, or no such directory."""
    command = options.command or NO_COMMAND
    directory = options.directory or command.directory
    if directory is not None and not directory.is_dir():
        raise LoadError(str(directory), "there is no such directory", "directory")
    executable, argv = ("/bin/sh", ("/bin/sh", "-c", command.text)) if options.shell else (find_program(command, environment), command.argv)
    return Launch(
        executable=executable,
        argv=argv,
        directory=directory,
        stop_timeout=options.stop_timeout,
        limits=limits(math.ceil(options.max_cpu), options.max_memory, options.max_files),
    )


def find_program(command: Command, environment: Mapping[bytes, bytes]) -> str:
    """The absolute path of the command's program. LoadError."""
    name = command.argv[0]
    if "/" in name:
        path = (command.directory or Path.cwd()) / name
        if not path.is_file():
            raise LoadError(command.text, f"there is no program {path}", "command")
        if not os.access(path, os.X_OK):
            raise LoadError(command.text, f"{path} is not executable", "command")
        return str(path)
    found = shutil.which(name, path=environment.get(b"PATH", b"").decode("utf-8", "surrogateescape") or os.defpath)
    if found is None:
        raise LoadError(command.text, f"there is no program {name} in PATH", "command")
    return str(Path(found).absolute())


def make_framing(options: ProcessOptions) -> Callable[[], Framing]:
    """A maker of framings, one for each program."""
    maximum: Any = options.max_output
    match options.framing:
        case "lines":
            return partial(Lines, maximum, options.newlines == "escape", options.output != "binary")
        case "binary":
            return partial(Plain, options.output == "text")
        case "netstring":
            return partial(Netstrings, maximum, options.output == "text")
        case _:
            return partial(JsonLines, maximum)
