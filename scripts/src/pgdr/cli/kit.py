"""``pgdr kit``: the recovery kit in the bucket. Runs on the control node, but for ``ask``."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.output import OutputFormat
from pgdr.errors import ConfigError

if TYPE_CHECKING:
    from pgdr.kit.store import KitStore
    from pgdr.policy.model import Policy

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Keep the recovery kit in the bucket, and fetch it for a rebuild; on the control node.",
)

_Format = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]
_PolicyFile = Annotated[
    Path, typer.Option("--policy", help="Recovery policy that names the bucket.", exists=True, dir_okay=False)
]
_Replica = Annotated[bool, typer.Option("--replica", help="The bucket's copy in the other region.")]
_Endpoint = Annotated[
    str, typer.Option(envvar="PGDR_S3_ENDPOINT_URL", help="URL of the S3 server as this machine reaches it.")
]
_Ca = Annotated[
    Path | None, typer.Option(envvar="PGDR_S3_CA_FILE", help="Certificate of its private authority, on this machine.")
]


def _store(policy_file: Path, *, replica: bool, endpoint_url: str, ca_file: Path | None) -> tuple[Policy, KitStore]:
    from pgdr.kit.store import KitStore, place_of  # noqa: PLC0415 - start-up time, see main
    from pgdr.policy.load import load_policy  # noqa: PLC0415

    policy = load_policy(policy_file)
    if not policy.s3_repositories:
        raise ConfigError(f"{policy_file} names no repository in a bucket", remedy="a kit needs one of type s3")
    place = place_of(policy.s3_repositories[0], replica=replica, endpoint_url=endpoint_url, ca_file=ca_file)
    return policy, KitStore(place, policy.cluster.stanza)


@app.command()
def ask(
    files: Annotated[list[Path] | None, typer.Argument(help="Files of this host that a rebuild needs.")] = None,
) -> None:
    """Say what a kit needs of this host, as JSON: release of pgdr, versions of packages, files. Runs on the host.

    \b
    Example:
      pgdr kit ask /etc/ssl/certs/internal-ca.pem
    """
    from pgdr.kit.parts import ask_host  # noqa: PLC0415 - start-up time, see main

    output.json_result(ask_host(files or []).model_dump())


@app.command()
def put(
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Policy that names the bucket; else the kit's own.", exists=True, dir_okay=False),
    ] = None,
    replica: _Replica = False,
    endpoint_url: _Endpoint = "",
    ca_file: _Ca = None,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Store a kit, unless the newest one in the bucket is the same. Its parts come on standard input, as JSON.

    playbooks/kit.yml hands them over; secrets among them are encrypted already.

    \b
    Example:
      ansible-playbook -i inventories/production playbooks/kit.yml
    """
    from pgdr.kit.pack import describe, pack  # noqa: PLC0415 - start-up time, see main
    from pgdr.kit.parts import lay_out, read_parts  # noqa: PLC0415

    parts = read_parts(sys.stdin.read())
    with tempfile.TemporaryDirectory(prefix="pgdr-kit-") as scratch:
        folder = Path(scratch) / "kit"
        folder.mkdir(mode=0o700)
        lay_out(parts, folder)
        stated, store = _store(
            policy or folder / "policy.yml", replica=replica, endpoint_url=endpoint_url, ca_file=ca_file
        )
        manifest = describe(folder, stated.cluster.stanza)
        version = ""
        changed = store.digest() != manifest.digest
        if changed:
            archive = Path(scratch) / "kit.tar"
            pack(folder, manifest, archive)
            version = store.put(archive, manifest.digest)
    if output_format is OutputFormat.JSON:
        output.json_result({"changed": changed, "version": version, "digest": manifest.digest, "key": store.key})
    else:
        where = f"s3://{store.place.bucket}/{store.key}"
        output.result(f"{where}: stored, version {version}" if changed else f"{where}: unchanged")


@app.command("list")
def list_kits(
    policy: _PolicyFile,
    replica: _Replica = False,
    endpoint_url: _Endpoint = "",
    ca_file: _Ca = None,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """List the kits that the bucket holds, newest first.

    \b
    Example:
      pgdr kit list --policy inventories/recovery/group_vars/all/policy.yml --replica
    """
    _, store = _store(policy, replica=replica, endpoint_url=endpoint_url, ca_file=ca_file)
    kits = store.versions()
    if output_format is OutputFormat.JSON:
        output.json_result([{**asdict(kit), "stored_at": kit.stored_at.isoformat()} for kit in kits])
        return
    rows = [
        (
            f"{kit.stored_at:%Y-%m-%d %H:%M:%S+00:00}",
            output.bytes_text(kit.size),
            kit.version_id,
            "newest" if kit.latest else "",
        )
        for kit in kits
    ]
    output.table(("stored at", "size", "version", ""), rows, right=frozenset({"size"}))


@app.command()
def fetch(
    folder: Annotated[Path, typer.Argument(help="New folder for the kit.")],
    policy: _PolicyFile,
    version: Annotated[str, typer.Option(help="This version; without it the newest.")] = "",
    replica: _Replica = False,
    endpoint_url: _Endpoint = "",
    ca_file: _Ca = None,
) -> None:
    """Fetch a kit and prove every file of it. Its secrets stay encrypted; the escrowed passphrase opens them.

    \b
    Example:
      pgdr kit fetch kit --policy inventories/recovery/group_vars/all/policy.yml
      ansible-playbook playbooks/dr-restore.yml -e kit_directory=kit -e escrow_file=/media/escrow ...
    """
    from pgdr.kit.pack import unpack  # noqa: PLC0415

    stated, store = _store(policy, replica=replica, endpoint_url=endpoint_url, ca_file=ca_file)
    with tempfile.TemporaryDirectory(prefix="pgdr-kit-") as scratch:
        archive = Path(scratch) / "kit.tar"
        store.fetch(archive, version)
        manifest = unpack(archive, folder, stated.cluster.stanza)
    output.result(
        f"{folder}: kit of {manifest.stanza}, made {manifest.created_at:%Y-%m-%d %H:%M:%S+00:00}, "
        f"{len(manifest.files)} files, all proven"
    )
