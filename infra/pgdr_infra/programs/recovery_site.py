"""infra/recovery_site: a place to come back to. Off by default; nothing in it is the only copy of anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pulumi
from pulumi_aws import ec2, route53

from pgdr.errors import ConfigError
from pgdr.policy.site import RecoverySite, SiteApplication
from pgdr.policy.units import Size
from pgdr_infra.components.host import Host, HostArgs
from pgdr_infra.components.key import EncryptionKey, EncryptionKeyArgs
from pgdr_infra.components.network import Network, NetworkArgs
from pgdr_infra.documents.keys import volume_key_policy
from pgdr_infra.naming import tags
from pgdr_infra.programs.stores import stack_reference
from pgdr_infra.providers import provider
from pgdr_infra.settings import NAMESPACE, Settings, key_name, load_settings, optional, require

ENVIRONMENTS = ("recovery", "staging", "lab")
# Debian's own account; its images are named debian-13-amd64-DATE.
_DEBIAN_ACCOUNT, _DEBIAN_IMAGES, DEBIAN_USER = "136693071363", "debian-13-amd64-*", "admin"
_SSH_KEY = (r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-\S+) \S+( .*)?", "a public key, as in ~/.ssh/id_ed25519.pub")
_PURPOSES = {"recovery": "host_writer_instance_profile", "drill": "restore_reader_instance_profile"}
_GIB = 2**30


@dataclass(frozen=True)
class _Ground:
    """What both hosts stand on."""

    settings: Settings
    site: RecoverySite
    network: Network
    key_arn: pulumi.Output[str]
    ssh_key: pulumi.Output[str]
    ami: pulumi.Input[str]
    instance_profile: pulumi.Output[Any]
    opts: pulumi.ResourceOptions


def recovery_site(program: Path) -> None:
    """Make the recovery site if the stack says so, and export its inventory.

    Args:
        program: folder of the Pulumi program.

    Raises:
        ConfigError: the configuration is wrong; nothing was made.
    """
    config = pulumi.Config(NAMESPACE)
    if not config.get_bool("enabled"):
        pulumi.log.info(f"{key_name('enabled')} is not true: this stack has no recovery site")
        pulumi.export("inventory", {})
        return
    settings = load_settings(program, environments=ENVIRONMENTS, needs_deployer=False)
    site = settings.policy.recovery.site
    if site is None:
        raise ConfigError("recovery_policy.recovery.site is missing", remedy="write region, network and database")
    public_key = require(config, "sshPublicKey", *_SSH_KEY)
    image = optional(config, "ami", r"ami-[0-9a-f]{8,17}", "the id of a Debian image")
    profile = _profile_output(config)
    access = stack_reference("pgdr-access", "accessStack", settings.stack)
    opts = pulumi.ResourceOptions(provider=provider(settings, site.region))
    key = EncryptionKey(
        "site",
        EncryptionKeyArgs(
            description="Encrypts the volumes of the recovery site",
            alias=f"{settings.cluster}-{settings.stack}-volumes",
            policy=volume_key_policy(settings.guardians, site.region),
            tags=tags(settings, data="none"),
            disposable=True,
        ),
        opts,
    )
    pair = ec2.KeyPair(
        "site-ssh", key_name=f"{settings.cluster}-{settings.stack}", public_key=public_key, opts=opts,
        tags=tags(settings, data="none"),
    )  # fmt: skip
    ground = _Ground(
        settings=settings,
        site=site,
        network=_network(settings, site, opts),
        key_arn=key.arn,
        ssh_key=pair.key_name,
        ami=image or _newest_debian(opts),
        instance_profile=access.get_output(profile),
        opts=opts,
    )
    _make(ground)


def _make(ground: _Ground) -> None:
    site = ground.site
    database = _database(ground)
    hosts: dict[str, Any] = {}
    groups: dict[str, Any] = {"recovery_target": {"hosts": {site.database.name: {}}}}
    jump = None
    if site.application is not None:
        application = _application(ground, site.application)
        address = ec2.Eip(
            "site-application-address", domain="vpc", instance=application.instance_id,
            tags=tags(ground.settings, data="none"), opts=ground.opts,
        )  # fmt: skip
        jump = address.public_ip
        hosts[site.application.name] = {"ansible_host": jump, "ansible_user": DEBIAN_USER}
        groups["recovery_application"] = {"hosts": {site.application.name: {}}}
        _names(ground, site.application, jump)
    hosts[site.database.name] = _database_variables(database, jump)
    pulumi.export("inventory", {"hosts": hosts, "groups": groups})


def _profile_output(config: pulumi.Config) -> str:
    """Return the output of infra/access with the identity of the database host.

    Raises:
        ConfigError: the purpose of the site is not known.
    """
    purpose = config.get("purpose") or "recovery"
    if purpose not in _PURPOSES:
        raise ConfigError(f"{key_name('purpose')}: {purpose!r} is not allowed", remedy="write recovery or drill")
    return _PURPOSES[purpose]


def _network(settings: Settings, site: RecoverySite, opts: pulumi.ResourceOptions) -> Network:
    repository = settings.repository
    return Network(
        "site",
        NetworkArgs(
            cidr=site.network,
            region=site.region,
            account=settings.account,
            buckets=[repository.bucket, *([repository.replica.bucket] if repository.replica else [])],
            clients=site.clients,
            administrators=site.administrators,
            application_port=site.application.port if site.application else 443,
            database_port=settings.policy.cluster.port,
            tags=tags(settings, data="none"),
        ),
        opts,
    )


def _newest_debian(opts: pulumi.ResourceOptions) -> pulumi.Output[str]:
    return ec2.get_ami_output(
        most_recent=True,
        owners=[_DEBIAN_ACCOUNT],
        filters=[{"name": "name", "values": [_DEBIAN_IMAGES]}],
        opts=pulumi.InvokeOutputOptions(provider=opts.provider),
    ).id


def _gib(size: Size) -> int:
    """Return a size as EBS counts, rounded up."""
    return -(-size.bytes // _GIB)


def _database(ground: _Ground) -> Host:
    site, settings = ground.site, ground.settings
    return Host(
        "database",
        HostArgs(
            host_name=site.database.name,
            instance_type=site.database.instance_type,
            ami=ground.ami,
            subnet=ground.network.private_subnet,
            zone=ground.network.zone,
            group=ground.network.database_group,
            ssh_key=ground.ssh_key,
            key_arn=ground.key_arn,
            instance_profile=ground.instance_profile,
            volumes={
                "data": _gib(site.database.data_volume),
                "backup": _gib(settings.policy.backup_volume.minimum_capacity),
            },
            tags=tags(settings, data="backup"),
        ),
        ground.opts,
    )


def _application(ground: _Ground, application: SiteApplication) -> Host:
    return Host(
        "application",
        HostArgs(
            host_name=application.name,
            instance_type=application.instance_type,
            ami=ground.ami,
            subnet=ground.network.public_subnet,
            zone=ground.network.zone,
            group=ground.network.application_group,
            ssh_key=ground.ssh_key,
            key_arn=ground.key_arn,
            tags=tags(ground.settings, data="none"),
        ),
        ground.opts,
    )


def _database_variables(database: Host, jump: pulumi.Output[str] | None) -> dict[str, Any]:
    """Return the database host's variables; it is reached by way of the application host, where there is one."""
    variables: dict[str, Any] = {
        "ansible_host": database.private_ip,
        "ansible_user": DEBIAN_USER,
        "site_devices": database.devices,
    }
    if jump is not None:
        variables["ansible_ssh_common_args"] = jump.apply(lambda ip: f"-o ProxyJump={DEBIAN_USER}@{ip}")
    return variables


def _names(ground: _Ground, application: SiteApplication, address: pulumi.Output[str]) -> None:
    """Name the application's host, with a health check. The service's own name is moved by dr-restore.yml."""
    settings, recovery = ground.settings, ground.settings.policy.recovery
    zone = optional(pulumi.Config(NAMESPACE), "zoneId", r"Z[A-Z0-9]{1,31}", "the id of the hosted zone")
    if zone is None or recovery.dns is None:
        return
    path = urlsplit(recovery.application.health_url).path if recovery.application else "/"
    check = route53.HealthCheck(
        "site-health",
        type="HTTPS" if application.port == 443 else "HTTP",
        fqdn=application.name,
        ip_address=address,
        port=application.port,
        resource_path=path or "/",
        failure_threshold=3,
        request_interval=30,
        tags=tags(settings, data="none"),
        opts=ground.opts,
    )
    route53.Record(
        "site-name",
        zone_id=zone,
        name=application.name,
        type="A",
        ttl=recovery.dns.ttl.seconds,
        records=[address],
        set_identifier=settings.stack,
        multivalue_answer_routing_policy=True,
        health_check_id=check.id,
        opts=ground.opts,
    )
    pulumi.export("health_check_id", check.id)
