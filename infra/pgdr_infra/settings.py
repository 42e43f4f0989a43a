"""What a stack is told: the policy file, and the few things that no policy can know.

Everything is checked before the first resource: what is wrong is one line that names the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pulumi

from pgdr.errors import ConfigError
from pgdr.policy import Policy, load_policy, require_sound
from pgdr.policy.cloud import effective_lock, the_repository
from pgdr.policy.repository import ObjectLock, S3Repository
from pgdr_infra.documents.buckets import Guardians, break_glass_arn

NAMESPACE = "pgdr"


@dataclass(frozen=True)
class Settings:
    """What every program needs.

    Attributes:
        stack: name of the stack.
        policy: the recovery policy.
        repository: the S3 repository that this stack is about.
        account: the account that it works in; AWS's provider refuses every other one.
        deployer: ARN of the identity that runs Pulumi; nobody else may change the buckets' rules afterwards.
        endpoint: URL of an AWS for tests, or ``None`` for AWS itself.
    """

    stack: str
    policy: Policy
    repository: S3Repository
    account: str
    deployer: str
    endpoint: str | None = None

    @property
    def cluster(self) -> str:
        """The cluster's name, with which the names of all resources begin."""
        return self.policy.cluster.name

    @property
    def region(self) -> str:
        """The region of the bucket."""
        return self.repository.region

    @property
    def lock(self) -> ObjectLock:
        """The bucket's lock."""
        return effective_lock(self.repository)

    @property
    def guardians(self) -> Guardians:
        """Who may do what nobody else may."""
        return Guardians(self.account, break_glass_arn(self.account, self.cluster), self.deployer)


def key_name(key: str) -> str:
    """Write a key of the stack's configuration as a person sets it."""
    return f"{NAMESPACE}:{key}"


def require(config: pulumi.Config, key: str, pattern: str, meaning: str) -> str:
    """Return a value of the stack's configuration.

    Args:
        config: the configuration.
        key: the key.
        pattern: regular expression that the whole value matches.
        meaning: what to write, for the message.

    Raises:
        ConfigError: it is missing or something else.
    """
    value = config.get(key)
    if value is None:
        raise ConfigError(f"{key_name(key)} is missing", remedy=f"pulumi config set {key_name(key)} {meaning}")
    if not re.fullmatch(pattern, value):
        raise ConfigError(f"{key_name(key)}: {value!r} is not allowed", remedy=f"write {meaning}")
    return value


def optional(config: pulumi.Config, key: str, pattern: str, meaning: str) -> str | None:
    """Return a value of the stack's configuration, or ``None`` where it is not set.

    Raises:
        ConfigError: it is set to something else than its meaning.
    """
    return None if config.get(key) is None else require(config, key, pattern, meaning)


ACCOUNT = (r"\d{12}", "the account's 12 digits")
ROLE = (r"arn:aws:iam::\d{12}:(role|user)/[\w+=,.@/-]+", "the ARN of a role or user")
_URL = (r"https?://[A-Za-z0-9.:\[\]-]+", "the URL of an AWS for tests, such as http://127.0.0.1:5000")


def load_settings(program: Path, *, environments: tuple[str, ...], needs_deployer: bool = True) -> Settings:
    """Read the stack's configuration and its policy.

    Args:
        program: folder of the Pulumi program; the policy's path is relative to it.
        environments: environments that the program is for.
        needs_deployer: whether it writes policies that except the identity that runs Pulumi.

    Raises:
        ConfigError: something is missing or wrong; the message names the key.
    """
    config = pulumi.Config(NAMESPACE)
    path = program / require(config, "policy", r"\S+", "the path of policy.yml, relative to the program's folder")
    policy = require_sound(load_policy(path.resolve()), source=str(path))
    if policy.environment not in environments:
        raise ConfigError(
            f"{key_name('policy')}: {path} is the policy of the environment {policy.environment}",
            remedy=f"name one of: {', '.join(environments)}",
        )
    endpoint = optional(config, "endpoint", *_URL)
    if endpoint is not None and policy.environment == "production":
        raise ConfigError(
            f"{key_name('endpoint')}: {policy.environment} is kept in AWS itself",
            remedy=f"pulumi config rm {key_name('endpoint')}",
        )
    number = config.get_int("repository")
    repository = the_repository(policy, number)
    effective_lock(repository)
    return Settings(
        stack=pulumi.get_stack(),
        policy=policy,
        repository=repository,
        account=require(config, "account", *ACCOUNT),
        deployer=require(config, "deployer", *ROLE) if needs_deployer else "",
        endpoint=endpoint,
    )
