"""Container images of the lab, built from the distribution's mirror: real systemd, no image registry.

An image is named after the hash of all that goes into it, so it is built once for each recipe and never stale.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from lab.paths import LAB_ROOT, ROOTFS
from lab.podman import any_status, environment, podman
from pgdr.errors import OperationFailedError

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

# The distribution of hosts and S3 server.
SUITE = "trixie"
_SYSTEMD = ("systemd", "systemd-sysv", "dbus")

# What no container wants: consoles that do not exist, and identities that every container must make itself.
_CLEAN_UP = (
    'chroot "$1" systemctl mask --quiet console-getty.service getty@.service systemd-firstboot.service',
    'rm -f "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub "$1"/etc/hostname',
    ': > "$1"/etc/machine-id',
)

_IMPORT = ["podman", "import", "--quiet", "--change=CMD=/lib/systemd/systemd", "-"]
# What mmdebstrap says that a person waits for.
_STAGES = ("I: running apt", "I: downloading", "I: extracting", "I: installing", "I: creating")


@dataclass(frozen=True)
class Recipe:
    """How an image is made.

    Attributes:
        name: last part of the image's name, and the folder under ``rootfs/`` that is copied into it.
        packages: of the distribution, on top of its smallest system.
        commands: mmdebstrap customize hooks; ``$1`` is the tree.
    """

    name: str
    packages: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def files(self) -> Path:
        """The files that are copied over the tree."""
        return ROOTFS / self.name

    @property
    def image(self) -> str:
        """Name and tag; the tag is a hash of the recipe and of every file in it."""
        digest = hashlib.sha256(json.dumps([asdict(self), SUITE, platform.machine()], sort_keys=True).encode())
        for path in sorted(self.files.rglob("*")):
            if path.is_file():
                executable = bool(path.stat().st_mode & 0o100)
                digest.update(f"\0{path.relative_to(self.files)}\0{executable}\0".encode())
                digest.update(path.read_bytes())
        return f"localhost/pgdr-lab/{self.name}:{digest.hexdigest()[:16]}"


HOST = Recipe(
    name="host",
    packages=(
        *_SYSTEMD,
        "acl",
        "ca-certificates",
        "cron",
        "iproute2",
        "iputils-ping",
        "less",
        "locales",
        "logrotate",
        "openssh-server",
        "procps",
        "python3",
        "python3-apt",
        "rsyslog",
        "sudo",
        "tzdata",
    ),
    commands=(
        # A company's database was not initialised in the C locale.
        "sed -i 's/^# *\\(en_US.UTF-8 UTF-8\\)/\\1/' \"$1\"/etc/locale.gen",
        'chroot "$1" locale-gen >&2',
        *_CLEAN_UP,
    ),
)

S3 = Recipe(
    name="s3",
    packages=(
        *_SYSTEMD,
        "ca-certificates",
        "ceph-common",
        "ceph-mon",
        "ceph-osd",
        "iproute2",
        "procps",
        "python3",
        "radosgw",
    ),
    commands=(
        # The packages' own units expect a cluster on disks; ours are the pgdr-lab-* ones.
        'chroot "$1" systemctl mask --quiet ceph.target ceph-crash.service nvmf-autoconnect.service',
        'chroot "$1" systemctl enable --quiet pgdr-lab-gateway.service',
        'ln -sf /etc/pgdr-lab-s3/ceph.conf "$1"/etc/ceph/ceph.conf',
        *_CLEAN_UP,
    ),
)


def exists(recipe: Recipe) -> bool:
    """Whether the image was built."""
    return podman("image", "exists", recipe.image, allowed=any_status).returncode == 0


def ensure(recipe: Recipe) -> str:
    """Build an image unless it is there; of several callers at once one builds and the others wait.

    Returns:
        The image's name.
    """
    if not exists(recipe):
        lock = LAB_ROOT / "locks" / f"image-{recipe.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not exists(recipe):
                _build(recipe)
    return recipe.image


def _mmdebstrap_argv(recipe: Recipe) -> list[str]:
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(recipe.packages)}",
        f"--customize-hook=sync-in {recipe.files} /",
        *(f"--customize-hook={command}" for command in recipe.commands),
        SUITE,
        "-",
    ]


def _build(recipe: Recipe) -> None:
    """Stream a tree from mmdebstrap into podman; name the image only when both ended well."""
    started = time.monotonic()
    _log.info("image %s: building from the distribution's packages", recipe.name)
    with (
        # The working folder must be one that mmdebstrap's inner user may enter.
        subprocess.Popen(
            _mmdebstrap_argv(recipe), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", text=False
        ) as tree,
        subprocess.Popen(
            _IMPORT,
            stdin=tree.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        ) as importer,
    ):
        assert tree.stdout is not None  # noqa: S101 (asked for above; for the type)
        tree.stdout.close()  # the importer holds it now, and a dead importer must end mmdebstrap
        lines: list[str] = []
        follower = threading.Thread(target=_follow, args=(recipe.name, tree, lines))
        follower.start()
        output, errors = importer.communicate()
        follower.join()
    image_id = output.decode().strip().splitlines()[-1:] or [""]
    if tree.returncode != 0 or importer.returncode != 0:
        if image_id[0]:
            podman("image", "rm", "--force", image_id[0], allowed=any_status)
        said = lines[-5:] if tree.returncode != 0 else [errors.decode().strip()]
        raise OperationFailedError(
            f"image {recipe.name} could not be built: {' | '.join(said)}",
            remedy="are the distribution's mirrors reachable? `lab up` again resumes",
        )
    podman("tag", image_id[0], recipe.image)
    _log.info("image %s: built in %.0f s", recipe.name, time.monotonic() - started)


def _follow(name: str, tree: subprocess.Popen[bytes], lines: list[str]) -> None:
    """Report mmdebstrap's stages, and keep what it said for the error message."""
    assert tree.stderr is not None  # noqa: S101 (asked for by the only caller; for the type)
    for raw in tree.stderr:
        line = raw.decode(errors="replace").strip()
        if not line:
            continue
        lines.append(line)
        del lines[:-200]
        if line.startswith(_STAGES):
            _log.info("image %s: %s", name, line.removeprefix("I: ").rstrip("."))


def remove_all() -> list[str]:
    """Remove every image that the lab ever built.

    Returns:
        Their names.
    """
    listed = podman("image", "ls", "--format={{.Repository}}:{{.Tag}}").stdout.split()
    ours = [name for name in listed if name.startswith("localhost/pgdr-lab/")]
    for name in ours:
        podman("image", "rm", "--force", name)
    return ours
