"""Whether the kernel caps a side instance, as cgroups of both versions say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgdr.side.launch import caps_hold

UNIT = "/pgdr.slice/pgdr-side@past.service"


@pytest.mark.parametrize(
    ("line", "file", "content", "holds"),
    [
        (f"0::{UNIT}", f"sys/fs/cgroup{UNIT}/cpu.max", "100000 100000\n", True),
        (f"0::{UNIT}", f"sys/fs/cgroup{UNIT}/cpu.max", "max 100000\n", False),
        (f"4:cpu,cpuacct:{UNIT}", f"sys/fs/cgroup/cpu,cpuacct{UNIT}/cpu.cfs_quota_us", "100000\n", True),
        (f"4:cpu,cpuacct:{UNIT}", f"sys/fs/cgroup/cpu,cpuacct{UNIT}/cpu.cfs_quota_us", "-1\n", False),
        # In a container: paths of the machine, of which nothing is to be seen.
        ("1:cpu:/libpod_parent/libpod-0d2a", "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n", False),
    ],
)
def test_what_the_kernel_says(tmp_path: Path, line: str, file: str, content: str, *, holds: bool) -> None:
    group = tmp_path / "proc" / "42" / "cgroup"
    group.parent.mkdir(parents=True)
    group.write_text(f"9:name=systemd:/init.scope\n{line}\n")
    quota = tmp_path / file
    quota.parent.mkdir(parents=True)
    quota.write_text(content)
    assert caps_hold(42, tmp_path) is holds
    assert not caps_hold(43, tmp_path)
