"""Runs a Pulumi program under mocks and gives back all that it would have told the engine."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks, set_mocks
from pulumi.runtime.settings import ROOT
from pulumi.runtime.stack import Stack

INFRA = Path(__file__).resolve().parents[1]
ACCOUNT = "210987654321"
DEPLOYER = f"arn:aws:iam::{ACCOUNT}:role/deployer"
PASSPHRASE = "correct horse battery staple"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE5vdEFLZXlKdXN0QVRlc3RWYWx1ZUZvclRoZVRlc3Rz dba"
COMMON = {"pgdr:account": ACCOUNT, "pgdr:deployer": DEPLOYER}


@dataclass(frozen=True)
class Recorded:
    """A resource as the engine was told of it.

    Attributes:
        type: Pulumi's type token.
        name: its name in the program.
        inputs: its inputs.
        parent: name of its parent, or an empty string for the stack.
        protect: whether Pulumi refuses to destroy it.
        region: region of its provider.
        ignored: inputs whose changes are ignored.
        secrets: inputs that Pulumi keeps encrypted in its state.
    """

    type: str
    name: str
    inputs: Mapping[str, Any]
    parent: str
    protect: bool
    region: str
    ignored: tuple[str, ...]
    secrets: tuple[str, ...]

    def document(self, key: str) -> Any:
        """Return a policy document of its inputs."""
        return json.loads(self.inputs[key])


@dataclass
class Recording:
    """What a program made."""

    resources: list[Recorded] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of(self, type_: str) -> list[Recorded]:
        """Return the resources of a type, named by the end of its token (``s3/bucket:Bucket``)."""
        return [resource for resource in self.resources if resource.type.endswith(type_)]

    def one(self, name: str) -> Recorded:
        """Return the resource of a name that is no component."""
        (found,) = (r for r in self.resources if r.name == name and r.type.startswith("aws:"))
        return found


class _Mocks(Mocks):
    """Gives back the inputs, and what AWS itself would add."""

    def __init__(self, stacks: Mapping[str, Mapping[str, Any]]) -> None:
        self.stacks = stacks

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if args.typ == "pulumi:pulumi:StackReference":
            return args.name, {"name": args.name, "outputs": self.stacks.get(args.inputs["name"], {})}
        service = args.typ.split(":")[1].split("/")[0]
        arn = f"arn:aws:{service}:region:{ACCOUNT}:{args.name}"
        if service == "s3":
            arn = f"arn:aws:s3:::{args.inputs.get('bucket', '')}"
        made = {"arn": arn, "keyId": args.name, "publicIp": "198.51.100.7", "privateIp": "10.60.128.4"}
        return f"{args.name}-id", made | args.inputs

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        return {"id": "ami-0123456789abcdef0"}, []


class _Monitor(MockMonitor):
    """Keeps what mocks are not told: parents, protection, providers, secrets."""

    def __init__(self, mocks: Mocks, recording: Recording) -> None:
        super().__init__(mocks)
        self.recording = recording
        self._regions: dict[str, str] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type == "pulumi:providers:aws":
            self._regions[f"{answer.urn}::{answer.id}"] = dict(request.object)["region"]
        if request.type not in ("pulumi:pulumi:Stack", "pulumi:pulumi:StackReference"):
            plain = rpc.deserialize_properties(request.object)
            parent = request.parent.rsplit("::", 1)[-1] if "pulumi:pulumi:Stack::" not in request.parent else ""
            self.recording.resources.append(
                Recorded(
                    type=request.type,
                    name=request.name,
                    inputs={key: _plain(value) for key, value in plain.items()},
                    parent=parent,
                    protect=request.protect,
                    region=self._regions.get(request.provider, ""),
                    ignored=tuple(request.ignoreChanges),
                    secrets=tuple(key for key, value in plain.items() if rpc.is_rpc_secret(value)),
                )
            )
        return answer


def _plain(value: Any) -> Any:
    if rpc.is_rpc_secret(value):
        return _plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def stack_config(program: str, stack: str) -> dict[str, str]:
    """Return the configuration that is in git for a stack, as the engine hands it to the program."""
    document = yaml.safe_load((INFRA / program / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in document["config"].items()}


def record(
    program: str,
    stack: str,
    config: Mapping[str, str | None] | None = None,
    stacks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Recording:
    """Run a program's own ``__main__.py`` as the engine would, and record it.

    Args:
        program: its folder.
        stack: name of the stack; its file in git is read.
        config: more configuration; ``None`` takes a key away.
        stacks: outputs of other stacks by name.

    Raises:
        pulumi.RunError: the program refused its configuration.
    """
    merged = {**stack_config(program, stack), **(config or {})}
    recording = Recording()
    mocks = _Mocks(stacks or {})
    # The stack of the program before this one would keep its exports.
    ROOT.set(None)
    project = yaml.safe_load((INFRA / program / "Pulumi.yaml").read_text(encoding="utf-8"))["name"]
    set_mocks(
        mocks,
        project=project,
        stack=stack,
        preview=False,
        organization="organization",
        monitor=_Monitor(mocks, recording),
    )
    pulumi.runtime.set_all_config({key: value for key, value in merged.items() if value is not None})
    here = Path.cwd()

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def program_in_stack() -> pulumi.Output[None]:
        runpy.run_path(str(INFRA / program / "__main__.py"), run_name="__main__")
        root = pulumi.runtime.get_root_resource()
        assert isinstance(root, Stack)
        # Whatever a callback raises is raised here.
        return pulumi.Output.all(**root.outputs).apply(recording.outputs.update)

    try:
        os.chdir(INFRA / program)
        program_in_stack()
    finally:
        os.chdir(here)
    return recording


def store_outputs(bucket: str) -> dict[str, object]:
    """Return what infra/storage exports."""
    return {
        "bucket": bucket,
        "region": "us-east-1",
        "kms_key_arn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/store",
        "replica": {
            "bucket": f"{bucket}-replica",
            "region": "us-west-2",
            "kms_key_arn": f"arn:aws:kms:us-west-2:{ACCOUNT}:key/replica",
        },
    }


def record_access(stack: str, bucket: str) -> Recording:
    """Record infra/access on a store."""
    return record(
        "access",
        stack,
        {**COMMON, "pgdr:repositoryPassphrase": PASSPHRASE, "pgdr:alarmEmails": '["dba@example.com"]'},
        {f"organization/pgdr-storage/{stack}": store_outputs(bucket)},
    )
