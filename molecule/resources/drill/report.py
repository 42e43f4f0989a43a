"""The drill's result: a table for people, ``report.json`` for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from drill.proof import Proof
from drill.timeline import Phase

RTO_LIMIT_SECONDS = 4 * 3600
RPO_LIMIT_SECONDS = 15 * 60


@dataclass(frozen=True)
class DrillReport:
    """What a drill measured; the fields of ``report.json``.

    Attributes:
        rto_seconds: from the destruction of the host until the data was proven on the other one.
        rpo_seconds: from the last surviving commit, by the client's clock, to the destruction.
        rows_lost_after_last_archive: rows that the client had seen committed and that are gone.
    """

    rto_seconds: float
    rpo_seconds: float
    phases: list[Phase]
    tables_compared: int
    rows_compared: int
    fingerprints_match: bool
    rows_lost_after_last_archive: int
    transactions_survived: int
    transactions_lost: int
    backup_label: str
    target: str
    reached: str
    faults: list[str]

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def show(self, console: Console, proof: Proof) -> None:
        """Print phases, measured objectives and the proof."""
        table = Table("phase", "seconds", title="Drill", title_justify="left")
        for phase in self.phases:
            style = "bold" if phase.recovery else ""
            table.add_row(f"{'recovery: ' if phase.recovery else ''}{phase.name}", f"{phase.seconds:.1f}", style=style)
        console.print(table)
        result = Table("measured", "value", "promised", title="Result", title_justify="left")
        result.add_row("RTO", f"{self.rto_seconds:.1f} s", f"{RTO_LIMIT_SECONDS} s")
        result.add_row("RPO", f"{self.rpo_seconds:.1f} s", f"{RPO_LIMIT_SECONDS} s")
        result.add_row("tables, rows compared", f"{self.tables_compared}, {self.rows_compared:,}", "all")
        result.add_row("fingerprints", "match" if self.fingerprints_match else "DIFFER", "match")
        result.add_row("transactions survived", f"{self.transactions_survived:,}", "")
        result.add_row("committed, then lost with the host", f"{self.transactions_lost} ({proof.rows_lost} rows)", "")
        result.add_row("lost although archived", str(len(proof.lost_before_reached)), "0")
        result.add_row("backup set", self.backup_label, "")
        result.add_row("target, reached", f"{self.target}, {self.reached}", "")
        console.print(result)
