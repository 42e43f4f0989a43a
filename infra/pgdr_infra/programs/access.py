"""infra/access: identities, the escrowed passphrase, the record and its alarms."""

from __future__ import annotations

import re
from pathlib import Path

import pulumi

from pgdr.errors import ConfigError
from pgdr.policy.cloud import evidence_days
from pgdr_infra.components.bucket import Lock
from pgdr_infra.components.escrow import Escrow, EscrowArgs
from pgdr_infra.components.identity import Identity, IdentityArgs
from pgdr_infra.components.trail import Trail, TrailArgs
from pgdr_infra.documents import identities, trusts
from pgdr_infra.documents.buckets import log_bucket_name, trail_bucket_name
from pgdr_infra.documents.identities import Store
from pgdr_infra.documents.statement import Document, role_arn
from pgdr_infra.documents.trail import alarms
from pgdr_infra.naming import tags
from pgdr_infra.programs.stores import read_store
from pgdr_infra.providers import provider
from pgdr_infra.settings import NAMESPACE, ROLE, Settings, key_name, load_settings

ENVIRONMENTS = ("production", "staging", "lab")
PASSPHRASE = "repositoryPassphrase"  # noqa: S105 - the name of a key
_SHORTEST_PASSPHRASE = 20


def parameter_name(settings: Settings) -> str:
    """Return where the escrowed passphrase is."""
    return f"/pgdr/{settings.cluster}/repository-{settings.repository.id}/passphrase"


def access(program: Path) -> None:
    """Make identities, escrow, record and alarms of a stack and export them.

    Args:
        program: folder of the Pulumi program.

    Raises:
        ConfigError: the configuration is wrong; nothing was made.
    """
    settings = load_settings(program, environments=ENVIRONMENTS)
    passphrase = _passphrase(settings)
    people, emails = _people("breakGlass", ROLE[0]), _people("alarmEmails", r"[^@\s]+@[^@\s]+")
    auditors = _people("auditors", ROLE[0])
    opts = pulumi.ResourceOptions(provider=provider(settings, settings.region))
    store = read_store(settings)
    escrow = Escrow(
        "escrow",
        EscrowArgs(
            parameter=parameter_name(settings),
            passphrase=passphrase,
            region=settings.region,
            guardians=settings.guardians,
            tags=tags(settings, data="secret"),
        ),
        opts,
    )
    trail = _trail(settings, emails, opts)
    instances = trusts.instance_trust()
    region = settings.region
    side_reader = role_arn(settings.account, f"{settings.cluster}-side-reader")
    log_buckets = [log_bucket_name(settings.repository.bucket), trail_bucket_name(settings.account, settings.cluster)]

    def reader(where: Store) -> pulumi.Output[Document]:
        return pulumi.Output.all(escrow.arn, escrow.key_arn).apply(
            lambda secret: identities.reader_policy(where, secret[0], secret[1], region, side_reader)
        )

    def auditor(where: Store) -> pulumi.Output[Document]:
        return trail.key_arn.apply(lambda key: identities.auditor_policy(where, log_buckets, key))

    made = {
        "host-writer": _identity(
            settings, "host-writer", "Database host: adds backups, hides old ones, destroys nothing", instances,
            store.apply(lambda where: identities.writer_policy(where, side_reader)), opts, instances=True,
        ),
        "restore-reader": _identity(
            settings, "restore-reader", "Recovery and drills: reads backups and the passphrase, writes nothing",
            instances, store.apply(reader), opts, instances=True,
        ),
        "auditor": _identity(
            settings, "auditor", "Reads how things are set up, logs and journal",
            trusts.person_trust(settings.account, auditors),
            store.apply(auditor), opts,
        ),
        "break-glass": _identity(
            settings, "break-glass", "Last resort: versions, locks and rules; taking it on raises an alarm",
            trusts.person_trust(settings.account, people), store.apply(identities.break_glass_policy), opts,
        ),
    }  # fmt: skip
    hosts = pulumi.Output.all(made["host-writer"].arn, made["restore-reader"].arn)
    made["side-reader"] = _identity(
        settings, "side-reader", "Side instances and rehearsals: reads backups and WAL, writes nothing",
        hosts.apply(trusts.side_reader_trust), store.apply(identities.side_reader_policy), opts,
    )  # fmt: skip
    for name, identity in made.items():
        pulumi.export(f"{name.replace('-', '_')}_role_arn", identity.arn)
    pulumi.export("host_writer_instance_profile", made["host-writer"].instance_profile)
    pulumi.export("restore_reader_instance_profile", made["restore-reader"].instance_profile)
    pulumi.export("passphrase_parameter", parameter_name(settings))
    pulumi.export("trail_arn", trail.arn)
    pulumi.export("alarm_topic_arn", trail.topic_arn)


def _passphrase(settings: Settings) -> pulumi.Output[str]:
    """Return the passphrase as a secret.

    Raises:
        ConfigError: it is missing, or too short to be one.
    """
    config, key = pulumi.Config(NAMESPACE), key_name(PASSPHRASE)
    value = config.get(PASSPHRASE)
    if not value:
        raise ConfigError(
            f"{key} is missing: without it in escrow a recovery ends where the vault is lost",
            remedy=f"pulumi config set --secret {key}, and paste the cipher_pass of repository "
            f"{settings.repository.id} from the vault",
        )
    if len(value) < _SHORTEST_PASSPHRASE:
        raise ConfigError(f"{key}: shorter than {_SHORTEST_PASSPHRASE} characters", remedy="is this the passphrase?")
    return pulumi.Output.secret(value)


def _people(key: str, pattern: str) -> list[str]:
    """Return a list of the configuration.

    Raises:
        ConfigError: it holds something else than it should.
    """
    found: list[str] = pulumi.Config(NAMESPACE).get_object(key) or []
    wrong = [value for value in found if not re.fullmatch(pattern, str(value))]
    if wrong:
        raise ConfigError(f"{key_name(key)}: {wrong[0]!r} is not allowed", remedy=f"must match {pattern}")
    return found


def _identity(
    settings: Settings,
    name: str,
    description: str,
    trust: pulumi.Input[Document],
    policy: pulumi.Output[Document],
    opts: pulumi.ResourceOptions,
    *,
    instances: bool = False,
) -> Identity:
    return Identity(
        name,
        IdentityArgs(
            role=f"{settings.cluster}-{name}",
            description=description,
            trust=trust,
            policy=policy,
            instances=instances,
            tags=tags(settings, data="none"),
        ),
        opts,
    )


def _trail(settings: Settings, emails: list[str], opts: pulumi.ResourceOptions) -> Trail:
    policy, repository = settings.policy, settings.repository
    watched = [repository.bucket, *([repository.replica.bucket] if repository.replica else [])]
    return Trail(
        "trail",
        TrailArgs(
            trail=f"{settings.cluster}-trail",
            region=settings.region,
            guardians=settings.guardians,
            watched=watched,
            bucket=trail_bucket_name(settings.account, settings.cluster),
            log_bucket=log_bucket_name(repository.bucket),
            lock=Lock(settings.lock.mode, settings.lock.days),
            days=evidence_days(policy),
            alarms=alarms(watched, settings.guardians.break_glass, policy.notification.delete_burst),
            emails=emails,
            tags=tags(settings, data="log"),
        ),
        opts,
    )
