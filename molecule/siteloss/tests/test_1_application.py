"""The role `application` with real units of systemd: what does not start or does not serve says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drill.host import Host

PLAY = "molecule/siteloss/application.yml"
UNIT = "erp-app.service"
UNIT_FILE = Path(__file__).parents[1] / "files" / UNIT
HEALTH = "http://localhost:8080/health"
COMMON: dict[str, Any] = {"application_kind": "systemd", "application_unit": UNIT}
COMPLETE: dict[str, Any] = {
    **COMMON,
    "application_unit_file": str(UNIT_FILE),
    "application_environment": {"DATABASE_HOST": "192.0.2.1"},
    "application_health_url": HEALTH,
}


def test_a_unit_that_is_not_there_is_named(app1: Host, plays: Any) -> None:
    error = plays.error(PLAY, **{**COMMON, "application_unit": "erp-none.service"})
    assert "erp-none.service does not start on app1" in error
    assert "Could not find the requested service" in error


def test_an_engine_that_is_not_there_is_named(app1: Host, plays: Any) -> None:
    error = plays.error(PLAY, application_kind="compose")
    assert "app1 has neither docker with its compose plugin nor podman-compose" in error
    assert "Nothing was started" in error


def test_no_health_ends_with_the_units_last_words(app1: Host, plays: Any) -> None:
    """The unit runs, its database is away: the line says what the unit itself wrote."""
    error = plays.error(PLAY, **{**COMPLETE, "application_health_seconds": 6})
    assert "http://localhost:8080/health did not answer 200 within 6 s on app1" in error
    assert "not healthy: database 192.0.2.1" in error.partition("Last words: ")[2]


@pytest.mark.step
def test_told_of_its_database_it_serves_and_a_second_run_changes_nothing(app1: Host, plays: Any) -> None:
    """Its variables change, so it is started anew; told nothing new, it is left alone."""
    # sshd of its own host stands for a database that answers.
    told = {**COMPLETE, "application_environment": {"DATABASE_HOST": "localhost", "DATABASE_PORT": 22}}
    served = plays.run(PLAY, told)
    assert served.returncode == 0, served.stdout + served.stderr
    begun = app1.run("systemctl", "show", "--property=ExecMainPID", UNIT).stdout
    again = plays.run(PLAY, told)
    assert "changed=0" in again.stdout, again.stdout
    assert app1.run("systemctl", "show", "--property=ExecMainPID", UNIT).stdout == begun
    assert app1.run("stat", "--format=%a %U", "/etc/default/application").stdout.strip() == "600 root"
    assert app1.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
