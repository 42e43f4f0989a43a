"""The network of a recovery site: private for data, one door out, one door to S3."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_aws import ec2

from pgdr_infra.documents.site import endpoint_policy
from pgdr_infra.documents.statement import dumps


@dataclass(frozen=True)
class NetworkArgs:
    """What the network is.

    Attributes:
        cidr: its range.
        region: where it is.
        account: the account.
        buckets: names of the buckets with backups.
        clients: ranges that may reach the application.
        administrators: ranges that may reach the hosts by ssh.
        application_port: the application's port.
        database_port: the database's port.
        tags: tags.
    """

    cidr: str
    region: str
    account: str
    buckets: Sequence[str]
    clients: Sequence[str]
    administrators: Sequence[str]
    application_port: int
    database_port: int
    tags: dict[str, str]


def halves(cidr: str) -> tuple[str, str]:
    """Return the public and the private half of a network."""
    public, private = ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=1)
    return str(public), str(private)


class Network(pulumi.ComponentResource):
    """A network with a public and a private subnet and the groups that say who reaches whom.

    Attributes:
        public_subnet: for the application's host.
        private_subnet: for the database host; nothing outside reaches it.
        application_group: the application host's group.
        database_group: the database host's group.
        zone: the availability zone of both subnets, and of the volumes.
    """

    public_subnet: pulumi.Output[str]
    private_subnet: pulumi.Output[str]
    application_group: pulumi.Output[str]
    database_group: pulumi.Output[str]
    zone: str

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("pgdr:site:Network", name, None, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self.zone = f"{args.region}a"
        vpc = ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={**args.tags, "Name": name},
            opts=self._child,
        )
        # The group that AWS makes for whom nobody named one: it lets nothing through.
        ec2.DefaultSecurityGroup(
            f"{name}-default-group", vpc_id=vpc.id, ingress=[], egress=[], tags=args.tags, opts=self._child
        )
        public, private = halves(args.cidr)
        self.public_subnet, routes_public = self._subnet(name, "public", vpc, public, args)
        self.private_subnet, routes_private = self._subnet(name, "private", vpc, private, args)
        self._ways_out(name, vpc, routes_public, routes_private, args)
        ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[routes_public.id, routes_private.id],
            policy=dumps(endpoint_policy(args.buckets, args.account)),
            tags=args.tags,
            opts=self._child,
        )
        self._groups(name, vpc, args)
        self.register_outputs({})

    def _subnet(
        self, name: str, kind: str, vpc: ec2.Vpc, cidr: str, args: NetworkArgs
    ) -> tuple[pulumi.Output[str], ec2.RouteTable]:
        subnet = ec2.Subnet(
            f"{name}-{kind}",
            vpc_id=vpc.id,
            cidr_block=cidr,
            availability_zone=self.zone,
            map_public_ip_on_launch=False,
            tags={**args.tags, "Name": f"{name}-{kind}"},
            opts=self._child,
        )
        table = ec2.RouteTable(f"{name}-{kind}-routes", vpc_id=vpc.id, tags=args.tags, opts=self._child)
        ec2.RouteTableAssociation(
            f"{name}-{kind}-association", subnet_id=subnet.id, route_table_id=table.id, opts=self._child
        )
        return subnet.id, table

    def _ways_out(
        self, name: str, vpc: ec2.Vpc, public: ec2.RouteTable, private: ec2.RouteTable, args: NetworkArgs
    ) -> None:
        """The database host fetches packages through the NAT gateway; nothing comes in that way."""
        gateway = ec2.InternetGateway(f"{name}-internet", vpc_id=vpc.id, tags=args.tags, opts=self._child)
        address = ec2.Eip(f"{name}-nat-address", domain="vpc", tags=args.tags, opts=self._child)
        nat = ec2.NatGateway(
            f"{name}-nat",
            allocation_id=address.id,
            subnet_id=self.public_subnet,
            tags=args.tags,
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=[gateway])),
        )
        everywhere = "0.0.0.0/0"
        ec2.Route(
            f"{name}-public-out",
            route_table_id=public.id,
            destination_cidr_block=everywhere,
            gateway_id=gateway.id,
            opts=self._child,
        )
        ec2.Route(
            f"{name}-private-out",
            route_table_id=private.id,
            destination_cidr_block=everywhere,
            nat_gateway_id=nat.id,
            opts=self._child,
        )

    def _groups(self, name: str, vpc: ec2.Vpc, args: NetworkArgs) -> None:
        application = self._group(name, "application", vpc, args)
        database = self._group(name, "database", vpc, args)
        for kind, group in (("application", application), ("database", database)):
            for port, what in ((80, "packages"), (443, "S3, packages")):
                self._rule(f"{name}-{kind}-out-{port}", group, port, what, to="0.0.0.0/0")
            for number, network in enumerate(args.administrators):
                self._rule(f"{name}-{kind}-ssh-{number}", group, 22, "ssh", source=network)
        for number, network in enumerate(args.clients):
            self._rule(f"{name}-clients-{number}", application, args.application_port, "clients", source=network)
        pairs = ((args.database_port, "database"), (22, "ssh by way of the application host"))
        for port, what in pairs:
            self._rule(f"{name}-application-to-database-{port}", application, port, what, to=database)
            self._rule(f"{name}-database-from-application-{port}", database, port, what, source=application)
        self.application_group, self.database_group = application.id, database.id

    def _group(self, name: str, kind: str, vpc: ec2.Vpc, args: NetworkArgs) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            f"{name}-{kind}-group",
            vpc_id=vpc.id,
            description=f"Who reaches the {kind} host, and whom it reaches",
            revoke_rules_on_delete=True,
            tags={**args.tags, "Name": f"{name}-{kind}"},
            opts=self._child,
        )

    def _rule(
        self,
        name: str,
        group: ec2.SecurityGroup,
        port: int,
        what: str,
        *,
        source: str | ec2.SecurityGroup | None = None,
        to: str | ec2.SecurityGroup | None = None,
    ) -> None:
        peer = source if source is not None else to
        kind = "ingress" if source is not None else "egress"
        ec2.SecurityGroupRule(
            name,
            type=kind,
            security_group_id=group.id,
            protocol="tcp",
            from_port=port,
            to_port=port,
            description=what,
            cidr_blocks=[peer] if isinstance(peer, str) else None,
            source_security_group_id=peer.id if isinstance(peer, ec2.SecurityGroup) else None,
            opts=self._child,
        )
