"""What must not be written down: names that announce a secret, and values that are one."""

from __future__ import annotations

import re

_SECRET_NAME = re.compile(
    r"(?<!by)pass(word|phrase|wd|code)?$|secret|token|credential"
    r"|(access|api|cipher|encryption|private|s3|secret|signing)[_-]?key"
    r"|cipher[_-]?pass",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"  # a key in PEM, whole or cut off
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user:password@ in an address
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # an access key's id
    r"|(?i:(?<=password=)|(?<=passphrase=)|(?<=secret=)|(?<=token=)|(?<=cipher-pass=)|(?<=s3-key=))[^\s'\"]+",
)
REDACTED = "<redacted>"


def is_secret_name(name: str) -> bool:
    """Whether a name announces a secret, for example ``repo1-cipher-pass``."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Replace what looks like a secret in a text."""
    return _SECRET_VALUE.sub(REDACTED, text)
