"""What this machine needs to run systemd in containers: detected by trying, never assumed.

The result of the trial goes to ``.lab/containers.conf``, which every podman call of the lab uses.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lab.paths import CONTAINERS_CONF, LAB_ROOT, write_file
from lab.podman import any_status
from lab.trial import Trial, first_that_works
from pgdr.errors import RefusedError
from pgdr.process import run

if TYPE_CHECKING:
    from collections.abc import Callable

_MINIMUM_DISK = 8 * 2**30
_MINIMUM_MEMORY = 3 * 2**30
# podman's own folders for helpers, none of which is on PATH.
_HELPER_FOLDERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")
_RUNTIMES = ("crun", "runc")
# Limits that hosts get if the machine allows: Ceph and a PostgreSQL with many relations want files.
_WANTED_LIMITS = {"nofile": 65536, "nproc": 65536}


@dataclass(frozen=True)
class Check:
    """One thing that a machine needs.

    Attributes:
        name: what it is.
        able: whether it is there.
        detail: what was found.
        remedy: what to do when it is not, in one line.
        packages: Debian packages that bring it; empty if no package can.
    """

    name: str
    able: bool
    detail: str
    remedy: str = ""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What was found on this machine."""

    checks: list[Check] = field(default_factory=list)

    @property
    def missing(self) -> list[Check]:
        """What is not there."""
        return [check for check in self.checks if not check.able]

    @property
    def able(self) -> bool:
        """Whether the lab can run here."""
        return not self.missing

    @property
    def packages(self) -> list[str]:
        """Packages that would bring what is missing."""
        return sorted({package for check in self.missing for package in check.packages})

    def require(self) -> None:
        """Do nothing on a machine that is able.

        Raises:
            RefusedError: it is not; one line with all that is missing.
        """
        if self.missing:
            names = ", ".join(f"{check.name} [{check.detail}; {check.remedy}]" for check in self.missing)
            raise RefusedError(
                f"this machine cannot run systemd containers; missing: {names}",
                remedy="`lab doctor --install` installs what packages can bring",
            )


def cgroup_mode(root: Path = Path("/sys/fs/cgroup")) -> str:
    """``v2``, ``hybrid`` or ``v1``, read from the mounted layout."""
    if (root / "cgroup.controllers").is_file():
        return "v2"
    return "hybrid" if (root / "unified").is_dir() else "v1"


def limits() -> dict[str, int]:
    """What containers may get: the wanted value, or this machine's cap if that is lower.

    podman asks for more than a machine may allow, and without CAP_SYS_RESOURCE the container then never starts.
    The caps are the hard limits of this process, and for processes also the kernel's highest process number: podman
    lowers its own limit to that before it starts anything.
    """
    found = {}
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(number)[1]
        found[name] = _WANTED_LIMITS[name] if hard == resource.RLIM_INFINITY else min(hard, _WANTED_LIMITS[name])
    found["nproc"] = min(found["nproc"], int(Path("/proc/sys/kernel/pid_max").read_text()))
    return found


def _program(name: str, remedy: str, *packages: str, helper: bool = False) -> Check:
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if helper:
        folders = os.pathsep.join([*_HELPER_FOLDERS, folders])
    path = shutil.which(name, path=folders)
    return Check(name, path is not None, path or "not found", remedy, packages)


def _root_check() -> Check:
    able = os.geteuid() == 0
    detail = "yes" if able else f"no, user {os.geteuid()}"
    return Check("root", able, detail, "run it as root: hosts are reached by address and change system settings")


def _runtime_path(name: str) -> str | None:
    return shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin")


def _runtime_check() -> Check:
    found = [path for name in _RUNTIMES if (path := _runtime_path(name))]
    return Check(
        "container runtime", bool(found), ", ".join(found) or "neither crun nor runc", "apt install crun", ("crun",)
    )


def _keyring_check() -> Check:
    path = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    remedy = "apt install debian-archive-keyring"
    detail = str(path) if path.is_file() else "not found"
    return Check("Debian's archive keys", path.is_file(), detail, remedy, ("debian-archive-keyring",))


def _memory_check() -> Check:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    return Check(
        "memory",
        available >= _MINIMUM_MEMORY,
        f"{available / 2**30:.1f} GiB available",
        f"free {_MINIMUM_MEMORY // 2**30} GiB of memory",
    )


def _disk_check() -> Check:
    # Images, volumes and the lab's own files; podman's store is /var/lib/containers for root.
    store = Path("/var/lib")
    free = shutil.disk_usage(store).free
    remedy = f"free {_MINIMUM_DISK // 2**30} GiB under {store}"
    return Check("disk", free >= _MINIMUM_DISK, f"{free / 2**30:.0f} GiB free under {store}", remedy)


def _program_checks() -> list[Check]:
    return [
        _root_check(),
        _program("podman", "apt install podman", "podman"),
        _runtime_check(),
        _program("netavark", "apt install netavark", "netavark", helper=True),
        _program("aardvark-dns", "apt install aardvark-dns", "aardvark-dns", helper=True),
        _program("iptables", "apt install iptables", "iptables"),
        _program("mmdebstrap", "apt install mmdebstrap", "mmdebstrap"),
        _keyring_check(),
        _program("ssh", "apt install openssh-client", "openssh-client"),
        _memory_check(),
        _disk_check(),
        Check("cgroups", able=True, detail=cgroup_mode()),
        Check("limits", able=True, detail=", ".join(f"{name} {value}" for name, value in limits().items())),
    ]


def conf_text(runtime: str, fingerprint: str) -> str:
    """podman's settings for this machine, with one runtime."""
    ulimits = [f"{name}={value}:{value}" for name, value in limits().items()]
    env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    if cgroup_mode() != "v2":
        # Debian 13's systemd refuses the old cgroup layout unless it is told that we know.
        env.append("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
    return (
        "# Written by `lab doctor`: what this machine was found to need. Delete it to have it detected again.\n"
        f"# machine: {fingerprint}\n"
        "[containers]\n"
        f"default_ulimits = {json.dumps(ulimits)}\n"
        f"env = {json.dumps(env)}\n"
        "[network]\n"
        'network_backend = "netavark"\n'
        "[engine]\n"
        f"runtime = {json.dumps(runtime)}\n"
    )


def _fingerprint() -> str:
    """Changes when podman, the cgroup layout, the limits or this code change: then all is detected again."""
    version = run(["podman", "--version"], allowed=any_status).stdout if shutil.which("podman") else "none"
    known = json.dumps([version.strip(), cgroup_mode(), limits(), Path(__file__).read_text()])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _settings_valid() -> bool:
    return CONTAINERS_CONF.is_file() and f"# machine: {_fingerprint()}\n" in CONTAINERS_CONF.read_text()


def _trial_check() -> Check:
    """Start a throw-away container with each runtime until one works, and write the settings down."""
    LAB_ROOT.mkdir(parents=True, exist_ok=True)
    partial = LAB_ROOT / f".containers-{os.getpid()}.conf"
    trial: Trial = first_that_works(
        [name for name in _RUNTIMES if _runtime_path(name)],
        lambda runtime: write_file(partial, conf_text(runtime, "trial")),
        partial,
    )
    partial.unlink(missing_ok=True)
    if trial.runtime is None:
        # No runtime works everywhere: crun refuses a hybrid cgroup layout that runc takes.
        untried = tuple(name for name in _RUNTIMES if _runtime_path(name) is None)
        remedy = f"apt install {' '.join(untried)}" if untried else "make podman start a container as root"
        return Check("a container that starts", able=False, detail=trial.problem, remedy=remedy, packages=untried)
    write_file(CONTAINERS_CONF, conf_text(trial.runtime, _fingerprint()))
    refused = f" ({trial.problem})" if trial.problem else ""
    return Check("a container that starts", able=True, detail=f"with {trial.runtime}{refused}")


def diagnose() -> Diagnosis:
    """Look at everything, try a container, write ``.lab/containers.conf`` if one starts."""
    checks = _program_checks()
    if all(check.able for check in checks):
        checks.append(_trial_check())
    return Diagnosis(checks)


def install(packages: list[str]) -> None:
    """Install packages by apt.

    Raises:
        RefusedError: this is not a Debian-like system, or not root.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RefusedError(
            "packages can be installed only by root, on Debian or Ubuntu", remedy=f"install {' '.join(packages)}"
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], env=env, timeout=600)
    run(["apt-get", "install", "-y", "--no-install-recommends", *packages], env=env, timeout=1800)


def make_able(say: Callable[[str], None]) -> Diagnosis:
    """Install what packages can bring until nothing more can be brought; return what was found last.

    What is missing may show only when the rest is there: a container can be tried with podman only, and it may take
    a second runtime to start one.

    Args:
        say: gets a line before each installation.
    """
    found = diagnose()
    tried: set[str] = set()
    while wanted := set(found.packages) - tried:
        tried |= wanted
        say(f"installing: {' '.join(sorted(wanted))}")
        install(sorted(wanted))
        found = diagnose()
    return found


def ensure_able(say: Callable[[str], None] | None = None) -> None:
    """What every command that makes something calls first: cheap when this machine was found able before.

    Args:
        say: gets a line before each installation; without it nothing is installed.

    Raises:
        RefusedError: it is not able.
    """
    if _settings_valid() and all(check.able for check in _program_checks()):
        return
    (make_able(say) if say else diagnose()).require()
