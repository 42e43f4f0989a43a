"""Which control asks for what, and where in the report the evidence stands."""

from __future__ import annotations

from dataclasses import dataclass

from pgdr.policy.model import Framework


@dataclass(frozen=True)
class Control:
    """One control.

    Attributes:
        framework: SOC 2, ISO 27001...
        id: its number.
        asks: what it asks for, in our words.
        evidence: keys of the report's document that answer it.
        preset: the policy's preset that makes it apply; ``None``: always shown.
    """

    framework: str
    id: str
    asks: str
    evidence: tuple[str, ...]
    preset: Framework | None = None


#: Evidence that arises where there is an occasion: that there was none is no lack.
OCCASIONAL = frozenset({"restores", "holds", "erasures"})

CONTROLS: tuple[Control, ...] = (
    Control("SOC 2", "A1.2", "Backups are made as planned and watched", ("backups", "verifications"), "soc2"),
    Control("SOC 2", "A1.3", "Recovery is tested", ("drills",), "soc2"),
    Control("SOC 2", "CC7.2", "Failures are noticed", ("days",), "soc2"),
    Control("SOC 2", "CC7.5", "Recovery from incidents is carried out and recorded", ("restores",), "soc2"),
    Control("SOC 2", "CC8.1", "Who did what is recorded and cannot be changed unseen", ("journal",), "soc2"),
    Control("ISO 27001:2022", "A.8.13", "Copies of information are kept and tested", ("backups", "verifications")),
    Control("ISO 27001:2022", "A.5.30", "Continuity is ready and tested against objectives", ("drills",)),
    Control("ISO 27001:2022", "A.8.15", "Activities are logged and the log is protected", ("journal",)),
    Control("ISO 27001:2022", "A.5.33", "Records are kept as long as they must be", ("retention", "holds")),
    Control("HIPAA", "164.308(a)(7)(ii)(A)", "Data backup plan: exact copies can be retrieved", ("backups",), "hipaa"),
    Control(
        "HIPAA",
        "164.308(a)(7)(ii)(B)",
        "Disaster recovery plan: losses are restored",
        ("restores", "drills"),
        "hipaa",
    ),
    Control("HIPAA", "164.308(a)(7)(ii)(D)", "Plans are tested and revised", ("drills",), "hipaa"),
    Control("HIPAA", "164.312(c)(1)", "Integrity: data is not altered unseen", ("verifications",), "hipaa"),
    Control("GDPR", "Art. 32(1)(b), (c)", "Data is restored in time after an incident", ("drills", "restores"), "gdpr"),
    Control("GDPR", "Art. 32(1)(d)", "Measures are tested regularly", ("verifications", "drills"), "gdpr"),
    Control("GDPR", "Art. 17", "Erased data is erased, also after a restore", ("erasures",), "gdpr"),
    Control("GDPR", "Art. 5(1)(e)", "Nothing is kept longer than necessary", ("retention",), "gdpr"),
    Control("SOX", "17 CFR 210.2-06", "Records of audits are kept seven years", ("retention",), "sox"),
)
