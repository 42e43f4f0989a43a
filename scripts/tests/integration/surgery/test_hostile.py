"""Any schema, any damage: a tenant goes back exactly, and nobody else's row moves."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from psycopg import sql

from hostile.damage import accident, heal, referred_by_others, work
from hostile.ddl import Made, name_everything, statements
from hostile.rows import Filling
from hostile.spec import Spec, specs
from pgdr.errors import RefusedError
from pgdr.policy.tenancy import Tenancy
from pgdr.surgery import erase, restore, undo
from pgdr.surgery.home import Choices
from pgdr.surgery.ledger import Ledger
from pgdr.surgery.restore import Request
from pgdr.surgery.source import LocalDatabase

if TYPE_CHECKING:
    from scripts.tests.integration.conftest import Cluster

# 60 in `make test`; `make nightly` sets 500.
CASES = int(os.environ.get("PGDR_HOSTILE_CASES", "60"))
SHRINK = bool(os.environ.get("PGDR_HOSTILE_SHRINK"))
DATABASES = ("hostile_live", "hostile_past", "hostile_truth")
_cases = count(1)


@pytest.fixture(scope="module")
def trio(pg16: Cluster) -> Iterator[Cluster]:
    """Three databases that all cases share; each case has schemas of its own."""
    for name in DATABASES:
        pg16.create_database(name)
    yield pg16
    for name in DATABASES:
        pg16.execute(f"drop database {name} with (force)")


def _run(cluster: Cluster, database: str, found: Iterable[sql.Composed], *, quietly: bool = False) -> None:
    with cluster.connect(database) as connection, connection.transaction():
        if quietly:
            connection.execute("set local session_replication_role = replica")
        for statement in found:
            connection.execute(statement)


def _drop(cluster: Cluster, made: Made) -> None:
    for database in DATABASES:
        _run(
            cluster,
            database,
            [sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)) for name in made.schemas],
        )


def hostile(cases: int) -> settings:
    """How cases are made."""
    return settings(
        max_examples=cases,
        deadline=None,
        # The same cases in each `make test`, new ones each night.
        derandomize="PGDR_HOSTILE_CASES" not in os.environ,
        report_multiple_bugs=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
        # Making a failing case small takes minutes with a server behind it: PGDR_HOSTILE_SHRINK=1 does it.
        phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if SHRINK else [])],
    )


@hostile(CASES)
@given(spec=specs())
def test_a_tenant_goes_back_exactly(trio: Cluster, images: Any, tmp_path: Path, spec: Spec) -> None:
    made = name_everything(spec, next(_cases))
    mine, other = spec.tenants
    try:
        filling = Filling(made, random.Random(spec.seed))  # noqa: S311 - test data
        filling.fill()
        first = filling.inserts()
        past = {id(row) for rows in filling.rows.values() for row in rows}
        onward = work(filling, other)
        damage = [*accident(filling, mine), *heal(filling, mine, past)]
        for database in DATABASES:
            _run(trio, database, statements(made))
            _run(trio, database, first, quietly=True)
        _run(trio, "hostile_truth", onward, quietly=True)
        _run(trio, "hostile_live", [*onward, *damage], quietly=True)

        before = images(trio, "hostile_live", made.schemas)
        host = trio.host(tmp_path, "hostile_live")
        request = Request(
            host,
            Tenancy.model_validate(made.policy()),
            LocalDatabase(host, "hostile_past"),
            mine,
            "hostile_live",
            made.schemas,
        )
        plan = restore.restore_tenant(request, Choices(), plan_only=True).plan
        assert images(trio, "hostile_live", made.schemas) == before, "a plan changed something"
        assert plan.ready, plan
        report = restore.restore_tenant(request, Choices(), plan_only=False)
        assert images(trio, "hostile_live", made.schemas) == images(trio, "hostile_truth", made.schemas)
        assert (report.outcome.changed if report.outcome else 0) >= plan.changes
        if report.operation:
            undo.undo(host, report.operation)
            assert images(trio, "hostile_live", made.schemas) == before
    finally:
        _drop(trio, made)


@hostile(max(20, CASES // 4))
@given(spec=specs())
def test_an_erased_tenant_is_gone_and_nobody_else(trio: Cluster, images: Any, tmp_path: Path, spec: Spec) -> None:
    made = name_everything(spec, next(_cases))
    mine = spec.tenants[0]
    try:
        filling = Filling(made, random.Random(spec.seed))  # noqa: S311 - test data
        filling.fill()
        held = any(row.owner == mine for row in referred_by_others(filling, mine))
        for database in DATABASES:
            _run(trio, database, statements(made))
        _run(trio, "hostile_live", filling.inserts(), quietly=True)
        _run(trio, "hostile_truth", filling.inserts(without=mine), quietly=True)
        host = trio.host(tmp_path / str(next(_cases)), "hostile_live")
        request = erase.Request(host, Tenancy.model_validate(made.policy()), "hostile_live", made.schemas)
        if held:
            before = images(trio, "hostile_live", made.schemas)
            with pytest.raises(RefusedError, match="refer to them"):
                erase.erase_tenant(request, mine, Ledger(host), plan_only=False)
            assert images(trio, "hostile_live", made.schemas) == before
            return
        erase.erase_tenant(request, mine, Ledger(host), plan_only=False)
        assert images(trio, "hostile_live", made.schemas) == images(trio, "hostile_truth", made.schemas)
        assert erase.replay(request, Ledger(host)).removed == {}
        # A restore brings everything back; the ledger takes it away again.
        _run(trio, "hostile_live", [sql.SQL("drop schema {} cascade").format(sql.Identifier(n)) for n in made.schemas])
        _run(trio, "hostile_live", statements(made))
        _run(trio, "hostile_live", filling.inserts(), quietly=True)
        assert erase.replay(request, Ledger(host)).removed
        assert images(trio, "hostile_live", made.schemas) == images(trio, "hostile_truth", made.schemas)
    finally:
        _drop(trio, made)
