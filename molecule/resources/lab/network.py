"""The network of a lab: its own bridge with DNS, on a subnet that nothing on this machine uses."""

from __future__ import annotations

from filelock import FileLock

from lab.paths import LAB_ROOT
from lab.podman import LABEL, inspect, podman


def network_name(lab: str) -> str:
    """``pgdr-LAB``."""
    return f"pgdr-{lab}"


def ensure(lab: str) -> tuple[str, str]:
    """Make the network unless it is there; podman chooses a free subnet.

    Returns:
        Subnet and gateway.
    """
    name = network_name(lab)
    # Two labs that start at once must not be given the same subnet.
    with FileLock(LAB_ROOT / "locks" / "network.lock"):
        found = inspect("network", name)
        if found is None:
            podman("network", "create", f"--label={LABEL}={lab}", name)
            found = inspect("network", name)
    assert found is not None  # noqa: S101 (just made; for the type)
    subnet = found["subnets"][0]
    return str(subnet["subnet"]), str(subnet["gateway"])
