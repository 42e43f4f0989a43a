"""One page for an auditor: what was backed up, what was proven, how fast, by whom, and what was removed."""
