"""Has a drill that fails written down with its reason: a play stops where something fails, and can write nothing then.

Ansible calls this at the end of every playbook of this folder. It does nothing unless ``dr-drill.yml`` had a host's
journal know that a drill begins, and failed before it was judged there. Where that host cannot be reached, or this
process is killed too, ``pgdr watch`` concludes the drill later, without the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: drill_end
    type: aggregate
    short_description: records a drill that fails
    description: See the module's docstring.
"""
_LONGEST = 400
_SECONDS = 60


class CallbackModule(CallbackBase):  # type: ignore[misc] - Ansible is not typed
    """Follows one playbook."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "drill_end"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        self._pgdr: list[str] = []
        self._drill = self._host = self._reason = ""

    def v2_runner_on_ok(self, result: Any) -> None:
        """A drill begins in the journal of a host, or is judged there."""
        command = result.result.get("cmd")
        if not isinstance(command, list) or "drill" not in command[:-2]:
            return
        place = command.index("drill")
        verb, name = command[place + 1 : place + 3]
        host = result.task.delegate_to or result.host.get_name()
        if verb == "begin":
            self._pgdr, self._drill, self._host = command[:place], name, host
        elif verb == "record" and host == self._host:
            self._drill = ""

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002 - Ansible's
        """Remember why: the last failure is the one that ended it."""
        if not ignore_errors:
            said = result.result.get("censored") or result.result.get("msg") or "no reason given"
            name = result.task.get_name(include_role_fqcn=False)
            reason = " ".join(f"{name} on {result.host.get_name()}: {said}".split())
            # Ansible takes arguments for templates: what a host has said must never be one.
            self._reason = reason.replace("{", "(").replace("}", ")")[:_LONGEST].rstrip(".")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The same."""
        self.v2_runner_on_failed(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Conclude what has not ended."""
        if not self._drill or not (stats.failures or stats.dark):
            return
        fail = [*self._pgdr, "drill", "fail", self._drill, f"--reason={self._reason}"]
        given = context.CLIARGS
        argv = [str(Path(sys.executable).with_name("ansible")), self._host, "--become"]
        argv += ["--module-name=ansible.builtin.command", f"--args={json.dumps({'argv': fail, 'chdir': '/'})}"]
        argv += [f"--inventory={path}" for path in given.get("inventory") or ()]
        argv += [f"--vault-id={one}" for one in given.get("vault_ids") or ()]
        argv += [f"--vault-password-file={one}" for one in given.get("vault_password_files") or ()]
        argv += [f"--private-key={given['private_key_file']}"] if given.get("private_key_file") else []
        try:
            done = subprocess.run(
                argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
            )
            problem = "" if done.returncode == 0 else " ".join((done.stdout + done.stderr).split())[-_LONGEST:]
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            self._display.warning(f"{self._host} does not know that the drill {self._drill} failed: {problem}")
        else:
            self._display.display(f"the drill {self._drill} failed, and the journal of {self._host} says why")
