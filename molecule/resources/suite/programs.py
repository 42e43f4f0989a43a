"""Programs of the distribution that a few tests ask: brought here on a fresh machine, and said so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from lab.doctor import install
from lab.paths import LAB_ROOT
from pgdr.errors import PgdrError

_TOOLS = LAB_ROOT / "tools"
_PACKAGES = {"chromium": "chromium", "mkfs.xfs": "xfsprogs"}


def ensure() -> str:
    """Have promtool, Chromium and mkfs.xfs where packages can bring them; return the PATH that finds them.

    Without one its tests are skipped, by name.
    """
    path = os.pathsep.join([str(_TOOLS / "usr" / "bin"), os.environ["PATH"], "/usr/sbin", "/sbin"])
    if shutil.which("promtool", path=path) is None:
        _say("fetching promtool from the package prometheus")
        _extract("prometheus")
    missing = [package for program, package in _PACKAGES.items() if shutil.which(program, path=path) is None]
    if missing:
        _say(f"installing with apt: {' '.join(missing)}")
        try:
            install(missing)
        except PgdrError as error:
            _say(str(error))
    return path


def _extract(package: str) -> None:
    """Unpack one package beside the lab: installed, it would start a server that nobody asked for."""
    _TOOLS.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package], check=True, cwd=_TOOLS)  # noqa: S607 - apt is Debian's own
        for archive in _TOOLS.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(archive), str(_TOOLS)], check=True)  # noqa: S607
            archive.unlink()
    except (OSError, subprocess.CalledProcessError) as error:
        _say(f"{package} could not be fetched: {error}")


def _say(text: str) -> None:
    sys.stderr.write(f"suite: {text}\n")
