"""A host of a recovery site: encrypted disks, no way to its credentials but IMDSv2, no key but yours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
from pulumi_aws import ebs, ec2

_ROOT_GIB = 30


@dataclass(frozen=True)
class HostArgs:
    """What a host is.

    Attributes:
        host_name: its name in the inventory.
        instance_type: EC2 instance type.
        ami: the image; a host that exists is not replaced by a newer one.
        subnet: the subnet.
        zone: its availability zone, for the volumes.
        group: its security group.
        ssh_key: name of the key pair.
        key_arn: the key that encrypts its volumes.
        instance_profile: the identity that it carries, or ``None``.
        volumes: sizes in GiB by what they are for.
        tags: tags.
    """

    host_name: str
    instance_type: str
    ami: pulumi.Input[str]
    subnet: pulumi.Input[str]
    zone: str
    group: pulumi.Input[str]
    ssh_key: pulumi.Input[str]
    key_arn: pulumi.Input[str]
    tags: dict[str, str]
    instance_profile: pulumi.Input[str] | None = None
    volumes: Mapping[str, int] = field(default_factory=dict)


class Host(pulumi.ComponentResource):
    """An instance with its volumes.

    Attributes:
        instance_id: the instance's id.
        private_ip: its address in the network.
        devices: block device by what it is for.
    """

    instance_id: pulumi.Output[str]
    private_ip: pulumi.Output[str]
    devices: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: HostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:site:Host", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        instance = ec2.Instance(
            f"{name}-instance",
            ami=args.ami,
            instance_type=args.instance_type,
            subnet_id=args.subnet,
            vpc_security_group_ids=[args.group],
            key_name=args.ssh_key,
            iam_instance_profile=args.instance_profile,
            ebs_optimized=True,
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            root_block_device={
                "encrypted": True,
                "kms_key_id": args.key_arn,
                "volume_type": "gp3",
                "volume_size": _ROOT_GIB,
                "delete_on_termination": True,
            },
            tags={**args.tags, "Name": args.host_name},
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(ignore_changes=["ami"])),
        )
        self.devices = {}
        for letter, (purpose, size) in zip("fghi", args.volumes.items(), strict=False):
            volume = ebs.Volume(
                f"{name}-{purpose}",
                availability_zone=args.zone,
                size=size,
                type="gp3",
                encrypted=True,
                kms_key_id=args.key_arn,
                tags={**args.tags, "Name": f"{args.host_name}-{purpose}"},
                opts=child,
            )
            ec2.VolumeAttachment(
                f"{name}-{purpose}-attachment",
                device_name=f"/dev/sd{letter}",
                volume_id=volume.id,
                instance_id=instance.id,
                opts=child,
            )
            self.devices[purpose] = volume.id.apply(_device)
        self.instance_id, self.private_ip = instance.id, instance.private_ip
        self.register_outputs({"private_ip": self.private_ip})


def _device(volume_id: str) -> str:
    """Return the block device of a volume on today's instances, whatever letter was asked for."""
    return f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
