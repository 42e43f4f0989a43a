"""The Pulumi program access; what it makes is in pgdr_infra.programs.access."""

from pathlib import Path

from pgdr_infra.programs.access import access
from pgdr_infra.programs.entry import run

run(lambda: access(Path(__file__).parent))
