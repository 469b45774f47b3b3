"""daemon/cgroups.py: the figures of a process' cgroups, of version 1 and 2."""

from __future__ import annotations

from pathlib import Path

from wsdaemon.daemon.cgroups import figures


def found(folder: Path, membership: str) -> list[str]:
    def read(name: str, cgroup: Path) -> str | None:
        return (cgroup / name).read_text() if (cgroup / name).exists() else None

    (folder / "cgroup").write_text(membership)
    version_2, version_1 = (lambda cgroup: read("max", cgroup)), (lambda cgroup: read("limit", cgroup))
    return list(figures("memory", version_2, version_1, folder / "cgroup", folder / "sys"))


def write(folder: Path, name: str, text: str) -> None:
    (folder / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / "sys" / name).write_text(text)


def test_from_its_own_cgroup_up_to_the_root(tmp_path: Path) -> None:
    files = {"a/b/max": "1", "a/max": "2", "max": "3", "memory/x/limit": "4", "memory/limit": "5", "cpu/x/limit": "6"}
    for name, text in files.items():
        write(tmp_path, name, text)
    assert found(tmp_path, "0::/a/b\n") == ["1", "2", "3"]
    assert found(tmp_path, "0::/../../c\n") == ["3"], "a container sees its own cgroup as the root"
    assert found(tmp_path, "7:memory,blkio:/x\n6:cpu:/x\n") == ["4", "5"]


def test_no_cgroup(tmp_path: Path) -> None:
    assert found(tmp_path, "") == []
    assert list(figures("memory", str, str, tmp_path / "nothing", tmp_path)) == []
