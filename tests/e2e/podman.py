"""A real podman with a folder of its own for everything it keeps, and an image made here: no registry, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

IMAGE = "localhost/isoflop-tiny:1"
PACKAGES = {"podman": "podman", "runc": "runc", "busybox": "busybox-static"}
TOOLS = ("sh", "cat", "cp", "env", "ls", "mv", "sleep")
# runc runs where cgroups are of both versions at once, which crun refuses. Limits are those that nobody has to raise.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


class Podman:
    """Podman as a machine of its own has it; use it in a `with`, where it has IMAGE."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pod-"))  # short: it has sockets in there, and waits without them
        conf, storage = self._folder / "containers.conf", self._folder / "storage.conf"
        self.env = {"CONTAINERS_CONF": str(conf), "CONTAINERS_STORAGE_CONF": str(storage)}
        conf.write_text(CONTAINERS)
        storage.write_text(STORAGE.format(folder=self._folder))

    def __enter__(self) -> Self:
        missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
        if missing:
            self.__exit__(None, None, None)
            _without(f"podman is not installed: apt-get install --no-install-recommends {' '.join(missing)} catatonit")
        if os.geteuid() != 0:
            self.__exit__(None, None, None)
            _without("containers of these tests take root")
        self.run("import", str(self._root()), IMAGE)
        tried = self.run("run", "--rm", "--network", "host", IMAGE, "/bin/true", check=False)
        if tried.returncode != 0:
            self.__exit__(None, None, None)
            _without(f"this machine runs no containers: {tried.stderr.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if shutil.which("podman") is not None:
            self.run("rm", "--all", "--force", "--time", "0", check=False)
        shutil.rmtree(self._folder)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What podman says to some arguments."""
        env = {**os.environ, **self.env}
        return subprocess.run(["podman", *arguments], env=env, capture_output=True, text=True, check=check, timeout=60)

    def containers(self) -> list[str]:
        """Names of all there are, stopped ones too."""
        return self.run("ps", "--all", "--format", "{{.Names}}").stdout.split()

    def _root(self) -> Path:
        """A root file system: one program under several names, and a file that tells it from others."""
        tree, packed = self._folder / "root", self._folder / "root.tar"
        (tree / "bin").mkdir(parents=True)
        (tree / "tmp").mkdir()
        (tree / "which").write_text("the tiny image\n")
        shutil.copy(shutil.which("busybox") or "", tree / "bin" / "busybox")
        for tool in (*TOOLS, "true"):
            (tree / "bin" / tool).symlink_to("busybox")
        with tarfile.open(packed, "w") as archive:
            archive.add(tree, ".")
        return packed


def _without(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
