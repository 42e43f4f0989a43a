"""``pgdr notify``: who is told, and do they hear it."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname
from typing import Annotated

import typer

from pgdr.cli import output
from pgdr.cli.context import invocation
from pgdr.cli.options import FORMAT, POLICY, policy_of
from pgdr.cli.output import OutputFormat
from pgdr.errors import ExitCode, OperationFailedError, RefusedError

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Tell people, and see whether they hear it.")

_TAIL = 20
_READ = 1 << 20


@app.command("test")
def send_test(context: typer.Context, policy: POLICY = None, output_format: FORMAT = OutputFormat.TABLE) -> None:
    """Send a test message through every channel, each by itself, and call the dead-man's switch.

    \b
    Example:
      pgdr notify test
    """
    from pgdr.health import Level  # noqa: PLC0415 - start-up time, see main
    from pgdr.journal import Journal  # noqa: PLC0415
    from pgdr.notify import channels  # noqa: PLC0415
    from pgdr.notify.channels import Attempt  # noqa: PLC0415
    from pgdr.notify.message import Event, Message  # noqa: PLC0415
    from pgdr.proof.look import now  # noqa: PLC0415

    host, plan = invocation(context).host, policy_of(policy)
    notification = plan.notification
    if not notification.channels and notification.dead_man is None:
        raise OperationFailedError(
            "the policy has no channel", remedy="add recovery_policy.notification.channels and run site.yml"
        )
    secrets = channels.read_secrets(host)
    message = Message(
        Event.FAILURE, f"TEST {plan.cluster.name}: pgdr notify test", "Nothing is wrong; this is a test.", Level.AMBER
    )
    attempts = [channels.try_channel(channel, secrets, message) for channel in notification.channels]
    told = list(attempts)
    if notification.dead_man is not None:
        error = channels.ping(host, notification.dead_man.secret_name)
        attempts.append(Attempt("dead man's switch", not error, error))
    failed = [attempt for attempt in attempts if not attempt.delivered]
    if output_format is OutputFormat.JSON:
        output.json_result([{"channel": a.channel, "delivered": a.delivered, "error": a.error} for a in attempts])
    else:
        output.table(
            ("channel", "delivered", "error"), [(a.channel, "yes" if a.delivered else "NO", a.error) for a in attempts]
        )
    # Shown first: on a full disk it cannot be kept, and somebody waits to know whether they would hear of that.
    channels.record(host, told, now())
    Journal.of(host).append(
        operation="notify test",
        result="failed" if failed else "ok",
        details={attempt.channel: attempt.error or "delivered" for attempt in attempts},
    )
    if failed:
        raise typer.Exit(int(ExitCode.FAILED))


@app.command()
def job(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The scheduled job.")],
    status: Annotated[int, typer.Option(help="Its exit status.")],
    log: Annotated[Path | None, typer.Option(help="The log that it wrote to.")] = None,
    tag: Annotated[str, typer.Option(help="What marks its lines in the log, for example verify[4711].")] = "",
    policy: POLICY = None,
) -> None:
    """Tell that a scheduled job has failed, with the last lines of its log. Called by erp-backup-job.

    \b
    Example:
      pgdr notify job verify --status 5 --log /var/log/pgdr/cron.log --tag 'verify[4711]'
    """
    from pgdr.notify import channels  # noqa: PLC0415 - start-up time, see main
    from pgdr.notify.message import job_failed  # noqa: PLC0415
    from pgdr.proof.look import now  # noqa: PLC0415

    host, plan = invocation(context).host, policy_of(policy)
    message = job_failed(plan.cluster.name, name, status, _last_lines(log, tag))
    attempts = channels.send(host, plan.notification, message, now())
    if not attempts or not attempts[-1].delivered:
        reasons = "; ".join(f"{a.channel}: {a.error}" for a in attempts) or "the policy has no channel for failures"
        raise OperationFailedError(f"nobody was told that {name} failed: {reasons}", remedy="pgdr notify test")


@app.command()
def recovered(context: typer.Context, policy: POLICY = None) -> None:
    """Tell that this host's cluster is back, from which set, and how far it came. Called by dr-restore.yml.

    \b
    Example:
      pgdr notify recovered
    """
    from pgdr.notify import channels  # noqa: PLC0415 - start-up time, see main
    from pgdr.notify.message import brought_back  # noqa: PLC0415
    from pgdr.proof.look import now  # noqa: PLC0415
    from pgdr.recovery.state import StateStore  # noqa: PLC0415

    host, plan = invocation(context).host, policy_of(policy)
    state = StateStore(host.state_directory / "recovery").load()
    if state is None or state.reached is None:
        raise RefusedError("no recovery of this host has reached its target", remedy="see pgdr recover watch")
    decided, reached = state.plan, state.reached
    last = reached.last_commit_at
    moment = f", last transaction {last:%Y-%m-%d %H:%M:%S} UTC" if last else ""
    lines = [
        f"From {decided.place or f'repository {decided.repository}'}, backup set {decided.backup_label}.",
        f"Reached {reached.lsn} on timeline {reached.timeline}{moment}.",
        *(f"Kept from before: {kept}" for _, kept in decided.set_aside),
        "Do: look at pgdr status, and at the report of dr-restore.yml for RTO and RPO",
    ]
    attempts = channels.send(host, plan.notification, brought_back(plan.cluster.name, gethostname(), lines), now())
    if not attempts or not attempts[-1].delivered:
        reasons = "; ".join(f"{a.channel}: {a.error}" for a in attempts) or "the policy has no channel for recoveries"
        raise OperationFailedError(f"nobody was told: {reasons}", remedy="tell them yourself; then pgdr notify test")
    output.result(f"told by channel {attempts[-1].channel}")


def _last_lines(log: Path | None, tag: str) -> list[str]:
    if log is None:
        return []
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _READ))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    marked = f" {tag}: "
    return [line for line in text.splitlines() if not tag or marked in line][-_TAIL:]
