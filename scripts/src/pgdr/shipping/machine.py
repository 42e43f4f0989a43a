"""Which host this is, among those that ever wrote for a cluster: a rebuilt one begins a journal of its own."""

from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")


def machine() -> str:
    """The host's name, and what tells it from another one that had the same name.

    The machine's id is confidential (see machine-id(5)), so only a hash of it goes into a key.
    """
    try:
        number = MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        number = ""
    name = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:63] or "host"
    return f"{name}-{hashlib.sha256(f'pgdr journal {number}'.encode()).hexdigest()[:8]}"
