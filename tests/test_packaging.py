"""The package as it is installed: wheel, editable and source tree, with a compiler and without.

Nothing is fetched: the builds use this environment's hatchling, and the fresh environments see this one's packages.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import wsdaemon

ROOT = Path(__file__).resolve().parents[1]
NO_COMPILER = "/nonexistent/compiler"
NOT_HANDED_ON = {"PYTHONPATH", "CC", "CFLAGS", "LDFLAGS", "ARCHFLAGS", "WSDAEMON_BUILD_C"}
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))

PROBE = """
import json, sys
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
import wsdaemon
from wsdaemon.wire.frames import load
found = sorted({plugin.module for plugin in getPlugins(IServiceMaker) if plugin.tapname == "wsdaemon"})
frames = load("auto")
plugin = sys.modules["twisted.plugins.wsdaemon_plugin"].__file__
from wsdaemon.settings.reference import reference_path
told = {"found": found, "plugin": plugin, "package": wsdaemon.__file__, "frames": frames.name, "reason": frames.reason}
print(json.dumps({**told, "reference": str(reference_path())}))
"""


def run(*command: str | Path, cwd: Path, works: bool = True, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """The program's output and errors; an AssertionError with them when it ends otherwise than expected."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == works, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source tree as a checkout has it: without anything built."""
    target = tmp_path / "tree"
    unwanted = shutil.ignore_patterns("*.so", "__pycache__", "dropin.cache")
    for name in ("wsdaemon", "twisted", "etc", "systemd"):
        shutil.copytree(ROOT / name, target / name, ignore=unwanted)
    for name in ("pyproject.toml", "hatch_build.py", "LICENSE", "README.md", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target)
    return target


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A fresh environment's Python, which finds this environment's packages after its own."""
    folder = tmp_path / "fresh"
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "zz_dependencies.pth").write_text("".join(f"{path}\n" for path in paths))
    return folder / "bin" / "python"


@pytest.fixture
def compiler(tree: Path) -> None:
    """Only where a C module can be built; a CI that says `require` has to be able to."""
    if os.environ.get("WSDAEMON_BUILD_C") == "require":
        return
    done = subprocess.run([sys.executable, "hatch_build.py"], cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the C module cannot be built here: {done.stderr}")
    for built in tree.rglob("*.so"):
        built.unlink()


def build(tree: Path, target: str = "wheel", works: bool = True, **environment: str) -> tuple[list[Path], str]:
    said = run(sys.executable, "-m", "hatchling", "build", "-t", target, cwd=tree, works=works, environment=environment)
    return sorted((tree / "dist").glob("*")), said


def install(python: Path, *what: str | Path, **environment: str) -> None:
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--no-compile")
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, *what, cwd=python.parent, environment=environment)


def probe(python: Path, cwd: Path) -> dict[str, Any]:
    """The report of the daemon's plugin and the frame reader in that environment."""
    *_, last = run(python, "-c", PROBE, cwd=cwd).splitlines()
    result: dict[str, Any] = json.loads(last)
    assert result["found"] == ["wsdaemon.tap"]
    return result


@pytest.mark.usefixtures("compiler")
def test_a_wheel_has_the_plugin_and_the_c_module(tree: Path, python: Path, tmp_path: Path) -> None:
    stale = tree / "wsdaemon" / "wire" / "frames" / f"_frames.old{SUFFIX}"
    stale.write_bytes(b"left from another build")
    [wheel], _ = build(tree)
    assert not wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [archive.read(name).decode() for name in names if name.endswith("/METADATA")]
        [tags] = [archive.read(name).decode() for name in names if name.endswith("/WHEEL")]
    assert [name for name in names if name.endswith(".so")] == [f"wsdaemon/wire/frames/_frames{SUFFIX}"]
    assert "Root-Is-Purelib: false" in tags
    assert f"\nVersion: {wsdaemon.__version__}\n" in metadata
    assert {"twisted/plugins/wsdaemon_plugin.py", "wsdaemon/py.typed"} <= set(names)
    files = [path for folder in ("etc", "systemd") for path in (ROOT / folder).rglob("*") if path.is_file()]
    shipped = {f"wsdaemon/data/{path.relative_to(ROOT)}" for path in files}
    assert {name for name in names if name.startswith("wsdaemon/data/")} == shipped
    assert not {"twisted/__init__.py", "twisted/plugins/__init__.py"} & set(names)
    assert {name.split("/")[0] for name in names} == {"twisted", "wsdaemon", f"wsdaemon-{wsdaemon.__version__}.dist-info"}
    install(python, wheel)
    result = probe(python, tmp_path)
    assert (result["frames"], result["reason"]) == ("c", "")
    assert Path(result["plugin"]).is_relative_to(tmp_path / "fresh")
    assert Path(result["package"]).is_relative_to(tmp_path / "fresh")
    assert Path(result["reference"]).is_relative_to(tmp_path / "fresh")
    assert Path(result["reference"]).read_bytes() == (ROOT / "etc" / "ws.reference.ini").read_bytes()


def test_without_a_compiler_the_wheel_is_pure_and_works(tree: Path, python: Path, tmp_path: Path) -> None:
    [wheel], said = build(tree, CC=NO_COMPILER)
    assert wheel.name == f"wsdaemon-{wsdaemon.__version__}-py3-none-any.whl"
    assert "built without the C module" in said
    assert NO_COMPILER in said
    install(python, wheel)
    result = probe(python, tmp_path)
    assert result["frames"] == "python"
    assert "_frames" in result["reason"]
    assert Path(result["plugin"]).is_relative_to(tmp_path / "fresh")


def test_a_broken_build_is_fatal_only_where_the_c_module_is_required(tree: Path) -> None:
    (tree / "wsdaemon" / "wire" / "frames" / "_frames.c").write_text("#error broken on purpose\n")
    built, said = build(tree, works=False, WSDAEMON_BUILD_C="require")
    assert built == []
    assert "C compiler" in said
    [wheel], said = build(tree)
    assert wheel.name.endswith("-py3-none-any.whl")
    wheel.unlink()
    [wheel], said = build(tree, WSDAEMON_BUILD_C="no", CC=NO_COMPILER)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "C module" not in said
    _, said = build(tree, works=False, WSDAEMON_BUILD_C="perhaps")
    assert "auto, require, no" in said


@pytest.mark.usefixtures("compiler")
def test_an_editable_install_builds_in_place(tree: Path, python: Path, tmp_path: Path) -> None:
    install(python, "--editable", tree)
    result = probe(python, tmp_path)
    assert result["frames"] == "c"
    assert Path(result["plugin"]) == tree / "twisted" / "plugins" / "wsdaemon_plugin.py"
    assert Path(result["package"]) == tree / "wsdaemon" / "__init__.py"
    assert Path(result["reference"]) == tree / "etc" / "ws.reference.ini"
    assert not list((tmp_path / "fresh").rglob("ws.reference.ini"))


def test_an_editable_install_needs_no_compiler(tree: Path, python: Path, tmp_path: Path) -> None:
    install(python, "--editable", tree, CC=NO_COMPILER)
    assert probe(python, tmp_path)["frames"] == "python"


@pytest.mark.usefixtures("compiler")
def test_the_source_tree_runs_as_it_stands_and_faster_once_built(tree: Path, python: Path) -> None:
    result = probe(python, tree)
    assert result["frames"] == "python"
    assert Path(result["plugin"]) == tree / "twisted" / "plugins" / "wsdaemon_plugin.py"
    said = run(sys.executable, "hatch_build.py", cwd=tree)
    assert said == f"{Path('wsdaemon', 'wire', 'frames', '_frames')}{SUFFIX}\n"
    assert probe(python, tree)["frames"] == "c"


def test_building_by_hand_without_a_compiler_says_so(tree: Path) -> None:
    assert "no C compiler" in run(sys.executable, "hatch_build.py", cwd=tree, works=False, environment={"CC": NO_COMPILER})


def test_a_source_distribution_has_all_that_a_wheel_needs(tree: Path, tmp_path: Path) -> None:
    [archive], _ = build(tree, "sdist")
    with tarfile.open(archive) as content:
        content.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    sources = [f"wsdaemon/wire/frames/{name}" for name in ("_frames.c", "_head.c", "_head.h")]
    for name in ("etc/ws.ini", "systemd/wsdaemon.service", *sources, "hatch_build.py", "LICENSE"):
        assert (unpacked / name).is_file(), name
    assert (unpacked / "twisted" / "plugins" / "wsdaemon_plugin.py").is_file()
    assert build(unpacked, CC=NO_COMPILER)[0][0].name.endswith(".whl")


def test_what_is_built_or_cached_stays_out_of_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"dropin.cache", "*.so", "__pycache__/"} <= set(ignored)
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()
