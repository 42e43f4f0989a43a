"""The policy's JSON Schema, for editors and other programs."""

from __future__ import annotations

from typing import Any

from pgdr.policy.findings import ROOT
from pgdr.policy.model import Policy


def policy_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a policy file."""
    schema = Policy.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    definitions = schema.pop("$defs")
    definitions["Policy"] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pgdr recovery policy",
        "description": "Objectives, schedule, retention and names of one environment. `pgdr policy check` says "
        "whether the policy can keep its promises.",
        "type": "object",
        "properties": {ROOT: {"$ref": "#/$defs/Policy"}},
        "required": [ROOT],
        "additionalProperties": False,
        "$defs": definitions,
    }
