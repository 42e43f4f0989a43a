"""Doctor finds out by looking and by trying; these run on every machine but for the container itself."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lab import doctor, images
from lab.paths import CONTAINERS_CONF, REPOSITORY, write_file
from lab.podman import podman
from lab.trial import first_that_works
from pgdr.errors import ExitCode, OperationFailedError, RefusedError


@pytest.mark.parametrize(
    ("layout", "mode"),
    [
        (["cgroup.controllers"], "v2"),
        (["memory/", "unified/cgroup.controllers"], "hybrid"),
        (["memory/", "systemd/"], "v1"),
    ],
)
def test_cgroup_mode_is_read_from_the_layout(tmp_path: Path, layout: list[str], mode: str) -> None:
    for entry in layout:
        path = tmp_path / entry
        (path if entry.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not entry.endswith("/"):
            path.touch()
    assert doctor.cgroup_mode(tmp_path) == mode


def test_containers_are_never_promised_more_than_the_machine_allows() -> None:
    code = "from lab import doctor; print(doctor.limits()['nofile'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "molecule/resources",
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1234, 1234)),
    )
    assert int(done.stdout) == 1234


def test_what_is_missing_is_refused_in_one_line_with_the_remedy() -> None:
    missing = doctor.Check("podman", able=False, detail="not found", remedy="apt install podman", packages=("podman",))
    found = doctor.Diagnosis([doctor.Check("root", able=True, detail="yes"), missing])
    with pytest.raises(RefusedError) as refused:
        found.require()
    message = str(refused.value)
    assert "\n" not in message
    assert "apt install podman" in message
    assert "root" not in message
    assert found.packages == ["podman"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_an_ordinary_user_is_told_so_with_exit_code_4() -> None:
    # Everything is imported first: the interpreter may lie where only its owner can read.
    code = (
        "import os, sys; from lab.cli import main; main(['status', 'none']); "
        "os.setuid(65534); sys.exit(main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "molecule/resources",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.REFUSED
    first = next(line for line in done.stdout.splitlines() if line.startswith("missing"))
    assert first.startswith("missing  root: no")
    assert "this machine cannot run systemd containers" in done.stderr.splitlines()[-1]


def test_a_runtime_that_fails_is_passed_over(able: None, tmp_path: Path) -> None:
    """The first runtime is a program that podman can start and that starts nothing."""
    broken = tmp_path / "broken-runtime"
    broken.write_text("#!/bin/sh\necho this runtime is broken >&2\nexit 1\n")
    broken.chmod(0o755)
    good = tomllib.loads(CONTAINERS_CONF.read_text())["engine"]["runtime"]
    conf = tmp_path / "containers.conf"
    trial = first_that_works(
        [str(broken), good],
        lambda runtime: write_file(conf, doctor.conf_text(runtime, "test")),
        conf,
    )
    assert trial.runtime == good
    assert trial.problem.startswith(str(broken))


def test_several_callers_build_an_image_once(able: None, lab: object, tmp_path: Path) -> None:
    """Real locks and real image names; the build itself is one line instead of half a minute."""
    code = f"""
import time
from pathlib import Path
from lab import images
from lab.podman import podman
recipe = images.Recipe("host", ("only-in-this-test",), ())
def build(recipe):
    with Path({str(tmp_path / "builds")!r}).open("a") as log:
        log.write("built\\n")
    time.sleep(1)
    podman("tag", images.HOST.image, recipe.image)
images._build = build
print(images.ensure(recipe))
"""
    callers = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=REPOSITORY / "molecule/resources", stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    names = {caller.communicate(timeout=60)[0].strip() for caller in callers}
    try:
        assert [caller.returncode for caller in callers] == [0, 0, 0]
        assert (tmp_path / "builds").read_text() == "built\n"
        assert len(names) == 1
    finally:
        for name in names:
            podman("untag", name, name)


def test_a_build_that_fails_leaves_no_image(able: None) -> None:
    recipe = images.Recipe("host", ("no-such-package-in-debian",), ())
    with pytest.raises(OperationFailedError, match="no-such-package-in-debian"):
        images.ensure(recipe)
    assert not images.exists(recipe)


def test_an_image_is_named_after_what_goes_into_it() -> None:
    changed = images.Recipe("host", images.HOST.packages, (*images.HOST.commands, "true"))
    assert changed.image != images.HOST.image
    assert images.Recipe("host", images.HOST.packages, images.HOST.commands).image == images.HOST.image
