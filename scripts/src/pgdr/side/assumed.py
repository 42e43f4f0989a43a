"""Short-lived keys of the role that only reads. pgBackRest cannot take a role on; it takes keys from a file.

Who takes on a role with an instance's role gets at most an hour, so botocore renews them, a quarter of an hour ahead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, Credentials, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from pgdr.errors import ConfigError, OperationFailedError, RefusedError, UnreachableError
from pgdr.hostconfig import HostConfig
from pgdr.pgbackrest.repositories import AccessKey, access_key
from pgdr.policy.repository import S3Repository

# It logs each failure with a traceback, and raises it too: one line of ours is enough.
logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)

Clock = Callable[[], datetime]
_SECONDS = 3600


def _now() -> datetime:
    return datetime.now(UTC)


class AssumedRole:
    """The keys of a repository's reader role.

    Args:
        config: this host, whose own key or role may take that role on.
        repository: the repository; its policy names the role.
        session: a name for the record of who did what (CloudTrail).
        clock: says what time it is.

    Raises:
        ConfigError: this host has neither a key nor a role of its own.
    """

    def __init__(self, config: HostConfig, repository: S3Repository, session: str, clock: Clock = _now) -> None:
        self._role = str(repository.reader_role)
        own = access_key(config.pgbackrest_config, config.stanza, repository.id)
        source = Credentials(own.key, own.secret, own.token) if own else get_session().get_credentials()
        if source is None:
            raise ConfigError(
                f"this host has no key and no role of its own to take on {self._role} with",
                remedy="give the instance the role CLUSTER-host-writer (infra/access)",
            )
        port = f":{repository.port}" if repository.port else ""
        client = partial(
            get_session().create_client,
            region_name=repository.region,
            # A server that is not AWS answers for its own roles.
            endpoint_url=f"https://{repository.endpoint}{port}" if repository.own_server else None,
            verify=repository.ca_file or repository.verify_tls,
            config=Config(retries={"max_attempts": 3, "mode": "standard"}, connect_timeout=5, read_timeout=15),
        )
        more = {"RoleSessionName": session, "DurationSeconds": _SECONDS}

        def fetch() -> dict[str, str]:
            # A new one each time: it keeps what it has got until its own clock says that this expires.
            return dict(AssumeRoleCredentialFetcher(client, source, self._role, extra_args=more).fetch_credentials())

        self._keys = DeferredRefreshableCredentials(fetch, "assume-role", time_fetcher=clock)

    def key(self) -> AccessKey:
        """The key of now, renewed where it would expire soon.

        Raises:
            RefusedError: this host may not take the role on.
            UnreachableError: the server did not answer.
        """
        try:
            found = self._keys.get_frozen_credentials()
        except ClientError as error:
            # Not every server says more than its status.
            said = error.response.get("Error", {}).get("Message") or " ".join(str(error).split())
            raise RefusedError(
                f"this host may not take on {self._role}: {said}",
                remedy="pulumi up in infra/access makes the role and lets host-writer take it on; check reader_role",
            ) from error
        except BotoCoreError as error:
            raise UnreachableError(f"{self._role} could not be taken on: {error}", remedy="run again") from error
        except RuntimeError as error:  # botocore's word for keys that are new and have expired
            raise OperationFailedError(f"{self._role}: {error}", remedy="set this host's clock") from error
        return AccessKey(str(found.access_key), str(found.secret_key), found.token)
