"""The Pulumi program storage; what it makes is in pgdr_infra.programs.storage."""

from pathlib import Path

from pgdr_infra.programs.entry import run
from pgdr_infra.programs.storage import storage

run(lambda: storage(Path(__file__).parent))
