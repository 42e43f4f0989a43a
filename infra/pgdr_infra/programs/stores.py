"""What infra/storage made, as its sister programs see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from pgdr.policy.cloud import bucket_layout
from pgdr_infra.documents.buckets import Keyed
from pgdr_infra.documents.identities import Store
from pgdr_infra.settings import NAMESPACE, Settings, key_name, optional

_STACK = (r"[\w.-]+/[\w.-]+/[\w.-]+", "ORGANIZATION/PROJECT/STACK")


def stack_reference(project: str, key: str, stack: str) -> pulumi.StackReference:
    """Return a sister program's stack: the one that the configuration names, or the one of the same name.

    Args:
        project: the sister's project.
        key: key of the configuration that names another stack.
        stack: the sister's stack where the configuration says nothing.

    Raises:
        ConfigError: the configuration names no stack.
    """
    named = optional(pulumi.Config(NAMESPACE), key, *_STACK)
    return pulumi.StackReference(named or f"{pulumi.get_organization()}/{project}/{stack}")


def read_store(settings: Settings) -> pulumi.Output[Store]:
    """Return where backups are, from the outputs of infra/storage.

    Raises:
        pulumi.RunError: (when the outputs are read) the stack is of another bucket, or was never applied.
    """
    reference = stack_reference("pgdr-storage", "storageStack", settings.stack)
    names = ("bucket", "region", "kms_key_arn", "replica", "tertiary")
    layout = bucket_layout(settings.policy, settings.repository)
    expected = settings.repository.bucket

    def store(values: list[Any]) -> Store:
        found = dict(zip(names, values, strict=True))
        if found["bucket"] != expected:
            # In a callback Pulumi shows this kind of error alone as one line.
            raise pulumi.RunError(
                f"{key_name('storageStack')}: its bucket is {found['bucket'] or 'missing'}, the policy's is {expected} "
                "(pulumi up in infra/storage first, or name the right stack)"
            )
        return Store(
            primary=Keyed(found["bucket"], found["region"], found["kms_key_arn"]),
            layout=layout,
            replica=_keyed(found["replica"]),
            tertiary=_keyed(found["tertiary"]),
        )

    return pulumi.Output.all(*(reference.get_output(name) for name in names)).apply(store)


def _keyed(place: Mapping[str, str] | None) -> Keyed | None:
    return None if place is None else Keyed(place["bucket"], place["region"], place["kms_key_arn"])
