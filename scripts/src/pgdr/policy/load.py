"""Read a policy: from a file, or from the value that Ansible holds; refuse it with one line for each problem."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pgdr.errors import ConfigError
from pgdr.policy import refused
from pgdr.policy.findings import ROOT, Finding, PolicyError, Severity, key_path
from pgdr.policy.model import Policy
from pgdr.policy.text import shown

DEFAULT_PATH = Path("/etc/pgdr/policy.yml")
_KINDS = ("posix", "s3")
Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice in a mapping is an error and not a silent choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the parent's signature
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_policy(path: Path, *, key: str = ROOT) -> Policy:
    """Read a policy file and return the policy.

    Whether the policy can keep its promises is another question: :func:`pgdr.policy.checks.check_policy`.

    Args:
        path: the file; its only key is ``key``.
        key: the key that holds the policy.

    Raises:
        ConfigError: the file is missing, unreadable or not YAML.
        PolicyError: it does not hold a policy; one line for each problem.
    """
    document = _read(path)
    if not isinstance(document, dict) or key not in document:
        raise ConfigError(f"{path}: no key {key!r}", remedy="the file's only key holds the whole policy")
    others = [Finding(Severity.ERROR, str(name), "does not belong here", _INDENT) for name in document if name != key]
    if others:
        raise PolicyError(str(path), others)
    return parse_policy(document[key], source=str(path), key=key)


_INDENT = "indent it to make it part of the policy, or move it to another file"


def _read(path: Path) -> Any:
    try:
        # The loader is a safe one: it makes plain values only.
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except FileNotFoundError as error:
        raise ConfigError(f"no policy at {path}", remedy="name the file, or run the role pgdr on this host") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="run as postgres or root") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{place}: {' '.join(str(error.problem).split())}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error


def parse_policy(value: Any, *, source: str = "", key: str = ROOT) -> Policy:
    """Return the policy that a plain value (mappings, lists, text, numbers) holds.

    Raises:
        PolicyError: it is no policy; one line for each problem.
    """
    problems = [
        Finding(Severity.ERROR, key_path(*path, root=key), message) for path, message in refused.bad_values(value)
    ]
    reported = {problem.path for problem in problems}
    try:
        policy = Policy.model_validate(value)
    except ValidationError as error:
        found = [_finding(details, value, key) for details in error.errors(include_url=False)]
        problems += [finding for finding in found if finding.path not in reported]
    if problems:
        raise PolicyError(source, problems)
    return policy


def _finding(details: ErrorDetails, value: Any, key: str) -> Finding:
    location = _plain_location(details["loc"])
    return Finding(Severity.ERROR, key_path(*location, root=key), *_explain(details, location, value))


def _plain_location(location: Location) -> Location:
    """Drop the name of the repository's kind, which pydantic puts behind the index and the file does not have."""
    if location[:1] == ("repositories",) and len(location) > 2 and location[2] in _KINDS:
        return (*location[:2], *location[3:])
    return location


def _explain(details: ErrorDetails, location: Location, value: Any) -> tuple[str, str]:
    """Return message and remedy of one of pydantic's errors in our own words."""
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _explain_unknown(location, value)
    if kind == "missing":
        return "missing", f"such as: {_example(location, value)}"
    if kind == "value_error":
        return str(context["error"]), ""
    if kind == "union_tag_not_found":
        return "missing key 'type'", "posix or s3"
    if kind == "union_tag_invalid":
        return f"type {context['tag']!r} is not supported yet", "use posix or s3"
    return f"{_WANTED.get(kind, details['msg']).format(**context)}, not {_shown(given)}", ""


_WANTED = {
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def _explain_unknown(location: Location, value: Any) -> tuple[str, str]:
    name = str(location[-1])
    if refused.looks_like_secret(name):
        return "looks like a secret", refused.VAULT_REMEDY
    if (remedy := refused.explanation(location)) is not None:
        return "not allowed here", remedy
    known = sorted(_schema_at(location[:-1], value).get("properties", {}))
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?", ""
    return "unknown key", f"known here: {', '.join(known)}"


def _shown(given: Any) -> str:
    """Show a wrong value; what is in a mapping or a list would be too much."""
    if given is None:
        return "nothing"
    if isinstance(given, Mapping):
        return "a mapping"
    if isinstance(given, Sequence) and not isinstance(given, str):
        return "a list"
    return shown(given)


def _example(location: Location, value: Any) -> str:
    """Return the first example of a key; every key has one."""
    return str(_schema_at(location, value)["examples"][0])


@cache
def _schema() -> dict[str, Any]:
    return Policy.model_json_schema(by_alias=True)


def _schema_at(location: Location, value: Any) -> dict[str, Any]:
    """Return the JSON Schema of a place in the policy; the value tells which kind of repository is meant."""
    node = _resolve(_schema(), value)
    for part in location:
        value = _inner(value, part)
        child = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        node = _resolve(child, value)
    return node


def _inner(value: Any, part: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, Sequence) and isinstance(part, int):
        return value[part]
    return None


def _resolve(node: dict[str, Any], value: Any) -> dict[str, Any]:
    """Follow references and choices of a schema until a mapping's own properties are at hand."""
    while True:
        if "$ref" in node:
            node = {**_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]], **_without(node, "$ref")}
        elif "discriminator" in node:
            kinds: dict[str, str] = node["discriminator"]["mapping"]
            kind = value.get("type") if isinstance(value, Mapping) else None
            node = {"$ref": kinds[kind]} if kind in kinds else _without(node, "discriminator", "oneOf")
        elif "anyOf" in node:
            # Optional: a choice between something and null.
            chosen = next(choice for choice in node["anyOf"] if choice.get("type") != "null")
            node = {**chosen, **_without(node, "anyOf")}
        else:
            return node


def _without(node: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: inner for name, inner in node.items() if name not in names}
