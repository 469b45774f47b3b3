"""The figures that limit the process' cgroups (cgroups(7)), from its own cgroup up to the root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

CGROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")


def figures(
    controller: str, version_2: Callable[[Path], T | None], version_1: Callable[[Path], T | None],
    membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS,
) -> Iterator[T]:  # fmt: skip
    """The figures of one controller in the process' cgroup and in those above it. None if there is no limit, or no cgroup to be seen.

    `version_2` and `version_1` read the figure of one folder. In a container its own cgroup is often mounted as the root.
    """
    for controllers, path in memberships(membership):
        if not controllers:
            yield from _along(cgroups, path, version_2)
        elif controller in controllers.split(","):
            yield from _along(cgroups / controller, path, version_1)


def memberships(membership: Path = MEMBERSHIP) -> Iterator[tuple[str, str]]:
    """The controllers, with commas between them, and the path of each cgroup of the process; none if the system does not tell."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        yield controllers, path


def _along(root: Path, path: str, read: Callable[[Path], T | None]) -> Iterator[T]:
    names = [name for name in path.split("/") if name not in ("", "..")]
    for depth in range(len(names), -1, -1):
        figure = read(root.joinpath(*names[:depth]))
        if figure is not None:
            yield figure
