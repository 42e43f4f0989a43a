"""``pgdr erasures``: the ledger of erased tenants, and its replay after a restore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import POLICY
from pgdr.cli.options import policy_of as policy_file
from pgdr.cli.output import OutputFormat
from pgdr.cli.surgery import policy_of
from pgdr.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from pgdr.surgery.erase import Replayed
    from pgdr.surgery.shipping import CloudLedger

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The erasure ledger: who was erased stays erased, whatever is restored.",
)

_Database = Annotated[str | None, typer.Option(help="The database; default: the ERP's.")]
_Format = Annotated[OutputFormat, typer.Option("--output", help="table for people, json for scripts.")]


@app.command()
def replay(
    context: typer.Context,
    database: _Database = None,
    policy: POLICY = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be removed again.")] = False,
    before_opening: Annotated[
        bool,
        typer.Option(
            "--before-opening",
            help="Of a cluster that was recovered and does not run yet: fetches the ledger, and opens nothing.",
        ),
    ] = False,
    nobody_was_erased: Annotated[
        bool,
        typer.Option(
            "--nobody-was-erased",
            help="With --before-opening, where the ledger cannot be fetched: you know that it is empty.",
        ),
    ] = False,
    output_format: _Format = OutputFormat.TABLE,
) -> None:
    """Remove again what was erased before. Run it after every restore, before the service opens.

    Any exit code but 0 means: do not open the service. A cluster that pgdr recover brought back does not start before.

    \b
    Examples:
      pgdr erasures replay --database erp_generic
      pgdr erasures replay --before-opening
    """
    from pgdr.surgery import erase  # noqa: PLC0415 - start-up time, see main
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415

    if nobody_was_erased:
        if not before_opening:
            raise typer.BadParameter("--nobody-was-erased is about a recovered cluster: add --before-opening")
        _open_without_ledger(context, output_format)
        return
    if before_opening:
        if plan or database is not None:
            raise typer.BadParameter("--before-opening goes with no other option: it is about the recovered ERP")
        _replay_before_opening(context, policy, output_format)
        return
    host = invocation(context).host
    _, tenancy = policy_of(policy)
    request = erase.Request(host, tenancy, database)
    if plan:
        found = erase.replay(request, Ledger(host), plan_only=True)
    else:
        with recorded(host, "erasures replay", database=database or host.database) as record:
            found = erase.replay(request, Ledger(host))
            record.details["removed"] = {str(number): rows for number, rows in found.removed.items()}
    if output_format is OutputFormat.JSON:
        output.json_result(asdict(found))
        return
    _show_replayed(found, "would be removed again" if plan else "removed again")


def _show_replayed(found: Replayed, word: str) -> None:
    for number, rows in found.removed.items():
        output.result(f"erasure {number}: {rows} rows {word}")
    output.result(f"{found.erasures} erasures in the ledger, {len(found.removed)} subjects {word}")


def _open_without_ledger(context: typer.Context, output_format: OutputFormat) -> None:
    from pgdr.surgery.opening import open_without_ledger  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415

    host = invocation(context).host
    # Another name than a replay's: the recovery is not proven by it.
    with recorded(host, "erasures left out", before="opening"):
        opened = open_without_ledger(host)
    if output_format is OutputFormat.JSON:
        output.json_result({"opened": opened})
        return
    output.result("the cluster may start; no erasure was looked up" if opened else "the cluster was not closed")


def _replay_before_opening(context: typer.Context, path: Path | None, output_format: OutputFormat) -> None:
    from pgdr.supervise import Supervisor  # noqa: PLC0415
    from pgdr.surgery.opening import keep_erased  # noqa: PLC0415
    from pgdr.surgery.records import recorded  # noqa: PLC0415
    from pgdr.surgery.shipping import cloud_ledger  # noqa: PLC0415

    host, policy = invocation(context).host, policy_file(path)
    with Supervisor(), recorded(host, "erasures replay", before="opening") as record:
        kept = keep_erased(host, policy, cloud_ledger(host, policy))
        record.details["fetched"] = kept.fetched
        record.details["erasures"] = kept.replayed.erasures
        record.details["removed"] = {str(number): rows for number, rows in kept.replayed.removed.items()}
    if output_format is OutputFormat.JSON:
        output.json_result(asdict(kept))
        return
    output.result(f"{kept.fetched} entries of the ledger came from the bucket")
    _show_replayed(kept.replayed, "removed again")


@app.command()
def ship(context: typer.Context, policy: POLICY = None, output_format: _Format = OutputFormat.TABLE) -> None:
    """Copy the ledger to the bucket: entries that are not there. Every erasure does it, and `pgdr watch` tries again.

    \b
    Example:
      pgdr erasures ship
    """
    copy = _cloud(context, policy)
    sent = copy.ship()
    if output_format is OutputFormat.JSON:
        output.json_result({"sent": sent, "place": copy.place})
    else:
        output.result(f"{sent} entries were copied to {copy.place}; the ledger is there")


@app.command()
def fetch(context: typer.Context, policy: POLICY = None, output_format: _Format = OutputFormat.TABLE) -> None:
    """Bring the ledger from the bucket to this host: entries that are not here. A lost host is rebuilt with it.

    \b
    Example:
      pgdr erasures fetch
    """
    copy = _cloud(context, policy)
    fetched = copy.fetch()
    if output_format is OutputFormat.JSON:
        output.json_result({"fetched": fetched, "place": copy.place})
    else:
        output.result(f"{fetched} entries came from {copy.place}")


@app.command()
def key(
    context: typer.Context,
    take: Annotated[
        bool, typer.Option("--take", help="Take the key from standard input: that of the recovery kit.")
    ] = False,
) -> None:
    """Have the key of the ledger on this host: made where there is none, or taken from the recovery kit.

    playbooks/site.yml has it made, playbooks/kit.yml puts it into the kit, dr-restore.yml takes it from there.

    \b
    Examples:
      pgdr erasures key
      pgdr erasures key --take < key-from-the-kit
    """
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415

    ledger = Ledger(invocation(context).host)
    if take:
        # No prompt and no option: a key must stand in no list of arguments and on no screen.
        changed, word = ledger.take_key(typer.get_text_stream("stdin").read()), "taken"
    else:
        changed, word = ledger.make_key(), "made"
    output.result(f"the key of the erasure ledger was {word}" if changed else "the key of the erasure ledger is there")


def _cloud(context: typer.Context, path: Path | None) -> CloudLedger:
    from pgdr.surgery.shipping import cloud_ledger  # noqa: PLC0415

    copy = cloud_ledger(invocation(context).host, policy_file(path))
    if copy is None:
        raise ConfigError("the policy names no bucket", remedy="the ledger's copy needs a repository of type s3")
    return copy


@app.command(name="list")
def list_command(context: typer.Context, output_format: _Format = OutputFormat.TABLE) -> None:
    """List erasures. The ledger names nobody: a subject is a keyed hash.

    \b
    Example:
      pgdr erasures list
    """
    from pgdr.surgery.ledger import Ledger  # noqa: PLC0415

    found = Ledger(invocation(context).host).erasures()
    if output_format is OutputFormat.JSON:
        output.json_result([asdict(one) for one in found])
        return
    rows = [(str(one.number), one.at, one.subject[:16], one.predicate, one.state, str(one.rows)) for one in found]
    output.table(("erasure", "at", "subject", "column", "state", "rows"), rows, right={"erasure", "rows"})


@app.command()
def settle(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Number of an erasure whose end is not known.")],
    done: Annotated[bool, typer.Option("--done/--withdrawn", help="Whether it was completed.")],
    policy: POLICY = None,
) -> None:
    """Say how an erasure ended that a crash left open and that the server cannot answer for.

    \b
    Example:
      pgdr erasures settle 3 --done
    """
    from pgdr.surgery.ledger import DONE, INTENDED, WITHDRAWN, Ledger  # noqa: PLC0415
    from pgdr.surgery.shipping import cloud_ledger  # noqa: PLC0415

    host = invocation(context).host
    copy = cloud_ledger(host, policy_file(policy))
    ledger = Ledger(host, copy)
    if number not in {one.number for one in ledger.erasures() if one.state == INTENDED}:
        raise RefusedError(f"erasure {number} is not open", remedy="see pgdr erasures list")
    ledger.conclude(number, DONE if done else WITHDRAWN)
    output.result(f"erasure {number}: {DONE if done else WITHDRAWN}")
    if copy is not None:
        copy.require_copied(f"erasure {number} is settled")
