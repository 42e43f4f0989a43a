"""Filters with which an inventory gets role inputs from the recovery policy.

They are a thin door to :mod:`pgdr.policy`, which is installed in the same virtual environment as Ansible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from ansible.errors import AnsibleFilterError


def _policy() -> ModuleType:
    """Return pgdr.policy, loaded when a filter is used: Ansible loads this file anew for every task, used or not."""
    try:
        return import_module("pgdr.policy")
    except ImportError as error:
        raise AnsibleFilterError(
            "pgdr is not installed beside ansible (run `make setup` and use its .venv/bin/ansible-playbook)"
        ) from error


def _plain(value: Any) -> Any:
    """Return a value without Ansible's own types, whose parts may still be waiting to be templated."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return str(value)
    return value


def pgdr_derive(value: Any, *, enforce: bool = True) -> dict[str, Any]:
    """Return all that follows from a recovery policy (see ``pgdr policy derive``).

    Args:
        value: the value of ``recovery_policy``.
        enforce: whether a policy that cannot keep its own promises is refused. A restore passes ``false``: at
            that hour a retention that is too short must not stand in the way.

    Raises:
        AnsibleFilterError: it is no policy, or it cannot keep its promises; one line with all problems.
    """
    model = _policy()
    try:
        policy = model.parse_policy(_plain(value))
        if enforce:
            model.require_sound(policy)
    except model.PolicyError as error:
        # Not chained: Ansible would print the cause's text a second time.
        raise AnsibleFilterError("; ".join(str(finding) for finding in error.findings)) from None
    return dict(model.derive(policy))


def pgdr_policy_refusal(value: Any, *, enforce: bool = True) -> str:
    """Say in one line why a policy is refused; nothing where it is not.

    The same as a failing :func:`pgdr_derive`, without Ansible's own words around it.
    """
    model = _policy()
    try:
        policy = model.parse_policy(_plain(value))
        if enforce:
            model.require_sound(policy)
    except model.PolicyError as error:
        return "; ".join(str(finding) for finding in error.findings)
    return ""


def kit_secrets(secrets: Mapping[Any, Any], policy: Mapping[str, Any]) -> dict[int, dict[str, str]]:
    """Return the repositories' secrets as a recovery kit may hold them: without the passphrases that are in escrow.

    Args:
        secrets: the value of ``pgbackrest_secrets``.
        policy: the value of ``recovery_policy``; its repositories in buckets have their passphrases in escrow.
    """
    escrowed = {int(one["id"]) for one in policy["repositories"] if one["type"] == "s3"}
    return {
        int(number): {
            str(name): str(value)
            for name, value in given.items()
            if not (name == "cipher_pass" and int(number) in escrowed)
        }
        for number, given in secrets.items()
    }


def kit_opened(secrets: Mapping[Any, Any], policy: Mapping[str, Any], passphrase: str) -> dict[int, dict[str, str]]:
    """Return the repositories' secrets with the passphrase out of escrow put back where it belongs."""
    escrowed = {int(one["id"]) for one in policy["repositories"] if one["type"] == "s3"}
    plain = {int(number): {str(name): str(value) for name, value in given.items()} for number, given in secrets.items()}
    for number in escrowed:
        plain.setdefault(number, {})["cipher_pass"] = passphrase
    return plain


class FilterModule:
    """What Ansible asks a filter plugin for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "kit_opened": kit_opened,
            "kit_secrets": kit_secrets,
            "pgdr_derive": pgdr_derive,
            "pgdr_policy_refusal": pgdr_policy_refusal,
        }
