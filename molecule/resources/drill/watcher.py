"""Keep every command line that a machine runs, to look for secrets in them later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab.api import Lab

# Runs on the host with nothing but Python. A process that lives shorter than a round may be missed: rounds are short,
# and what matters here runs often.
_SAMPLER = """
import os, sys, time
seen = set()
while True:
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as handle:
                    line = handle.read()
            except OSError:
                continue
            if line and line not in seen:
                seen.add(line)
                print(line.replace(b"\\0", b" ").replace(b"\\n", b" ").decode(errors="replace"), flush=True)
    time.sleep(float(sys.argv[1]))
"""


class ArgumentWatcher:
    """Writes each command line that appears on a machine to a file, once.

    Args:
        lab: the lab.
        host: one of its hosts, or nothing for this machine.
    """

    def __init__(self, lab: Lab, host: str = "") -> None:
        self.file: Path = lab.folder / f"arguments-{host or 'control'}.log"
        # This machine has many more processes, of other labs too.
        argv = [sys.executable, "-u", "-", "0.3"]
        if host:
            argv = ["ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", host, "python3 -u - 0.05"]
        with self.file.open("ab") as sink:
            self._child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.DEVNULL)
        if self._child.stdin is not None:
            self._child.stdin.write(_SAMPLER.encode())
            self._child.stdin.close()

    @property
    def works(self) -> bool:
        """Whether it still samples."""
        return self._child.poll() is None

    def stop(self) -> None:
        """End it."""
        if self.works:
            self._child.kill()
        self._child.wait()
