"""Judge a drill of the whole disaster: the requirement's checklist, held against the policy's objectives.

A drill spans hosts: ``playbooks/dr-drill.yml`` carries it out on a host of its own and hands over what it measured.
Here that is read, judged and written down, on whichever host keeps the evidence.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pgdr.errors import ConfigError
from pgdr.hostconfig import HostConfig
from pgdr.journal import Journal
from pgdr.policy.model import Policy
from pgdr.policy.units import seconds_text
from pgdr.recovery.verify import Report

OPERATION = "drill"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Client(_Part):
    """What somebody outside saw of the service.

    Attributes:
        answered_at: when it first answered a query again.
        newest_at: time of the newest row that it saw, ``None`` where there is none.
    """

    answered_at: datetime
    newest_at: datetime | None = None


class Tests(_Part):
    """The application's own tests against the recovered service.

    Attributes:
        command: what was run.
        status: its exit status.
        seconds: how long it took.
        tail: its last words.
    """

    command: str
    status: int
    seconds: float = 0.0
    tail: str = ""


class Drill(_Part):
    """What a drill measured.

    Attributes:
        drill: its name, where its beginning was written down (:mod:`pgdr.drillbook`).
        host: where the cluster was brought up.
        disaster_at: when the disaster was declared.
        production_lived: it was only declared, and production went on archiving: then a loss counts from the moment at
            which the end of the archive was read, or what was archived after the disaster would hide it.
        provisioned: whether the site was built for it.
        from_cloud: whether the repository that was read is off every host.
        recovery: the recovery's own report.
        client: what a client saw, where there was one.
        tests: the application's tests, where they were run.
        findings: what people noted.
    """

    drill: str = ""
    host: str
    disaster_at: datetime
    production_lived: bool = False
    provisioned: bool = False
    from_cloud: bool = True
    recovery: Report
    client: Client | None = None
    tests: Tests | None = None
    findings: list[str] = []


class Answer(StrEnum):
    """How an item of the checklist ended."""

    DONE = "done"
    MISSED = "missed"
    NOT_DONE = "not done"


class Item(_Part):
    """One line of the checklist."""

    name: str
    answer: Answer
    detail: str


class Verdict(_Part):
    """A drill with its checklist.

    Attributes:
        items: the checklist.
        findings: what is to be improved: what was missed or left out, and what people noted.
        rto_seconds: from disaster to the last phase, as the play measured it.
        rpo_seconds: work that was lost, by the newest heartbeat or commit.
        client_rto_seconds: from disaster to the client's first answer.
        client_rpo_seconds: the same by the newest row that the client saw.
    """

    items: list[Item]
    findings: list[str]
    rto_seconds: float
    rpo_seconds: float | None
    client_rto_seconds: float | None
    client_rpo_seconds: float | None

    @property
    def passed(self) -> bool:
        """Whether nothing was missed."""
        return all(item.answer is not Answer.MISSED for item in self.items)


def read_drill(text: str, source: str) -> Drill:
    """Read what the play handed over.

    Raises:
        ConfigError: it is not what the play writes.
    """
    try:
        return Drill.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ConfigError(
            f"{source} is not the record of a drill: {where}: {first['msg']}", remedy="playbooks/dr-drill.yml writes it"
        ) from error


def judge(drill: Drill, policy: Policy) -> Verdict:
    """Hold a drill against the policy."""
    recovery, client = drill.recovery, drill.client
    rto, rpo = policy.objectives.rto.seconds, policy.objectives.rpo.seconds
    client_rto = (client.answered_at - drill.disaster_at).total_seconds() if client else None
    counted = _counted_from(drill)
    client_rpo = _loss(counted, client.newest_at) if client else None
    lost = _loss(counted, max((m for m in (recovery.reached_at, recovery.heartbeat_at) if m), default=None))
    items = [
        _optional("new infrastructure was provisioned", drill.provisioned, "no: -e provision=true builds the site"),
        Item(
            name="restored from a repository that is off every host",
            answer=Answer.DONE if drill.from_cloud else Answer.MISSED,
            detail=f"repository {recovery.repository}, {recovery.backup_label}",
        ),
        *_checked(recovery, policy),
        _tests(drill.tests),
        _objective("RTO", recovery.rto_seconds, rto),
        _objective("RPO by the heartbeat", _loss(counted, recovery.heartbeat_at), rpo),
        _objective("RPO", lost, rpo),
    ]
    if client is not None:
        items += [_objective("RTO by a client", client_rto, rto), _objective("RPO by a client", client_rpo, rpo)]
    else:
        items.append(_optional("a client watched", done=False, otherwise="no: give -e drill_client_dsn"))
    found = [f"{item.name}: {item.detail}" for item in items if item.answer is not Answer.DONE]
    return Verdict(
        items=items,
        findings=[*found, *drill.findings],
        rto_seconds=recovery.rto_seconds,
        rpo_seconds=lost,
        client_rto_seconds=client_rto,
        client_rpo_seconds=client_rpo,
    )


def record(config: HostConfig, drill: Drill, verdict: Verdict) -> int:
    """Write a drill into this host's journal; return the entry's number."""
    recovery = drill.recovery
    details: dict[str, Any] = {
        "drill": drill.drill,
        "drill_host": drill.host,
        "disaster_at": drill.disaster_at.isoformat(),
        "recovery": recovery.operation,
        "backup_label": recovery.backup_label,
        "repository": recovery.repository,
        "target": recovery.target,
        "reached": recovery.reached,
        **verdict.model_dump(mode="json", exclude={"items", "findings"}),
        "checklist": [item.model_dump(mode="json") for item in verdict.items],
        "findings": verdict.findings,
        "message": "; ".join(f"{i.name}: {i.detail}" for i in verdict.items if i.answer is Answer.MISSED),
    }
    entry = Journal.of(config).append(
        operation=OPERATION,
        result="ok" if verdict.passed else "not proven",
        details=details,
        times={phase.name: phase.seconds for phase in recovery.phases},
    )
    return entry.seq


def _checked(recovery: Report, policy: Policy) -> list[Item]:
    """All schemas, and everything else that the recovery looked at."""
    schemas = next((check for check in recovery.checks if check.name == "schemas"), None)
    bad = [f"{check.name}: {check.detail}" for check in recovery.checks if check.fatal and not check.ok]
    return [
        Item(
            name=f"all {len(policy.schemas)} schemas are back",
            answer=Answer.DONE if schemas is not None and schemas.ok else Answer.MISSED,
            detail=schemas.detail if schemas else "nobody looked",
        ),
        Item(
            name="nothing is lost short of the target",
            answer=Answer.MISSED if bad else Answer.DONE,
            detail="; ".join(bad) or f"{recovery.reached}, {len(recovery.checks)} checks",
        ),
    ]


def _tests(tests: Tests | None) -> Item:
    name = "the application's tests pass"
    if tests is None:
        return Item(name=name, answer=Answer.NOT_DONE, detail="not run: give -e drill_tests_command")
    last = tests.tail.strip().splitlines()[-1:] if tests.status else []
    detail = f"{tests.command}: exit status {tests.status} after {seconds_text(round(tests.seconds))}"
    answer = Answer.MISSED if tests.status else Answer.DONE
    return Item(name=name, answer=answer, detail=": ".join([detail, *last]))


def _objective(name: str, seconds: float | None, objective: int) -> Item:
    wanted = f"the objective is {seconds_text(objective)}"
    if seconds is None:
        return Item(name=name, answer=Answer.MISSED, detail=f"not measured; {wanted}")
    answer = Answer.DONE if seconds <= objective else Answer.MISSED
    return Item(name=name, answer=answer, detail=f"{seconds:.0f} s; {wanted}")


def _optional(name: str, done: bool, otherwise: str) -> Item:  # noqa: FBT001 - it is what the item says
    return Item(name=name, answer=Answer.DONE if done else Answer.NOT_DONE, detail="yes" if done else otherwise)


def _counted_from(drill: Drill) -> datetime:
    """The moment from which a loss counts."""
    plan = next((phase for phase in drill.recovery.phases if phase.name == "plan"), None)
    if drill.production_lived and plan is not None:
        return plan.started_at + timedelta(seconds=plan.seconds)
    return drill.disaster_at


def _loss(disaster: datetime, newest: datetime | None) -> float | None:
    return None if newest is None else max((disaster - newest).total_seconds(), 0.0)
