"""The place where a company comes back after the loss of its data centre: sizes and network."""

from __future__ import annotations

import ipaddress

from pydantic import model_validator

from pgdr.policy.base import HostName, InstanceType, Int, NetworkRange, Region, Section, described
from pgdr.policy.units import Size

# Two halves of the network for two availability zones; AWS makes no subnet smaller than /28.
_SMALLEST_NETWORK = 27
_LARGEST_NETWORK = 16


class SiteDatabase(Section):
    """The host that the cluster is restored to."""

    name: HostName = described("Its name in the inventory.", "erp-dr1.example.com")
    instance_type: InstanceType = described("EC2 instance type.", "r6i.xlarge", default="r6i.xlarge")
    data_volume: Size = described("Encrypted volume for the data directory.", "500GB")


class SiteApplication(Section):
    """The host that the application runs on."""

    name: HostName = described("Its name in the inventory.", "erp-app-dr1.example.com")
    instance_type: InstanceType = described("EC2 instance type.", "t3.large", default="t3.large")
    port: Int = described("Port that it serves on.", 443, default=443, ge=1, le=65_535)


class RecoverySite(Section):
    """A network of its own with a database host and an application host. Used by infra/recovery_site."""

    region: Region = described("Where it is built; the replica's region, if the store's own may be lost.", "us-west-2")
    network: NetworkRange = described("Network of the site; it overlaps with no other of yours.", "10.60.0.0/16")
    clients: tuple[NetworkRange, ...] = described(
        "Networks that may reach the application.", ["198.51.100.0/24"], default=()
    )
    administrators: tuple[NetworkRange, ...] = described(
        "Networks that may reach both hosts by ssh: where the playbooks run.", ["192.0.2.0/24"], default=()
    )
    database: SiteDatabase = described("The database host.", {"name": "erp-dr1.example.com", "data_volume": "500GB"})
    application: SiteApplication | None = described(
        "The application's host.", {"name": "erp-app-dr1.example.com"}, default=None
    )

    @model_validator(mode="after")
    def _networks(self) -> RecoverySite:
        for text in (self.network, *self.clients, *self.administrators):
            ipaddress.IPv4Network(text)
        if not _LARGEST_NETWORK <= ipaddress.IPv4Network(self.network).prefixlen <= _SMALLEST_NETWORK:
            raise ValueError(f"network {self.network!r} must be between /{_LARGEST_NETWORK} and /{_SMALLEST_NETWORK}")
        return self
