"""Tags that every resource has, so that cost and ownership can be told and nothing is nobody's."""

from __future__ import annotations

from pgdr_infra.settings import Settings

PROJECT = "postgresql-disaster-recovery"


def tags(settings: Settings, *, data: str) -> dict[str, str]:
    """Return the tags of a resource.

    Args:
        settings: of the stack.
        data: what it holds: ``backup``, ``log``, ``secret`` or ``none``.
    """
    return {
        "pgdr:cluster": settings.cluster,
        "pgdr:data": data,
        "pgdr:environment": settings.policy.environment,
        "pgdr:managed-by": "pulumi",
        "pgdr:project": PROJECT,
        "pgdr:stack": settings.stack,
    }
