"""The second run of ``site.yml`` against one host, beside Ansible's own floor: one task that does nothing."""

from __future__ import annotations

import re
import time

from bench.ground import SOURCE, Ground
from bench.report import OursAtMost, Row
from drill.play import lab_folder
from pgdr.errors import NotProvenError

_GOAL = OursAtMost(20)
_CHANGED = re.compile(r"\bchanged=(\d+)")


def measure(ground: Ground) -> list[Row]:
    """Run the play on a host that has everything, and look whether it changed something."""
    ground.protect()
    ground.say("site.yml again")
    ours = ground.play("site.yml")
    changed = _CHANGED.search((lab_folder(ground.lab.name) / "site.log").read_text(encoding="utf-8"))
    if changed is None or int(changed[1]) > 0:
        # A run that had something to do is not the second one.
        raise NotProvenError(
            f"site.yml changed {changed[1] if changed else 'nobody knows what'} on a host that has everything",
            remedy="with --reuse the roles may be newer than the lab: begin with a new one",
        )
    begin = time.monotonic()
    ground.ansible(SOURCE, "-m", "ansible.builtin.ping")
    theirs = time.monotonic() - begin
    return [Row("site.yml, second run, against a ping by Ansible", ours, theirs, "s", goal=_GOAL)]
