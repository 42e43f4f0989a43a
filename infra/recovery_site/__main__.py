"""The Pulumi program recovery_site; what it makes is in pgdr_infra.programs.recovery_site."""

from pathlib import Path

from pgdr_infra.programs.entry import run
from pgdr_infra.programs.recovery_site import recovery_site

run(lambda: recovery_site(Path(__file__).parent))
