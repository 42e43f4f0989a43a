"""Many small relations in a schema of their own."""

from __future__ import annotations

import psycopg
import pytest

from erp.cli.main import main
from erp.tests.cluster import Cluster
from pgdr.errors import ExitCode


def test_relations_are_made_counted_and_made_again(
    cluster: Cluster, empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["relations", "--dsn", cluster.dsn(empty, "erp_owner"), "--count"]

    assert main([*arguments, "901"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("bench: 902 relations, 451 tables")

    assert main([*arguments, "300"]) == ExitCode.REFUSED
    assert "the schema bench exists (--recreate drops it first)" in capsys.readouterr().err

    assert main([*arguments, "300", "--recreate"]) == ExitCode.OK
    with psycopg.connect(cluster.dsn(empty)) as connection:
        row = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE pg_relation_size(c.oid) > 0), sum(c.reltoastrelid::bigint)"
            " FROM pg_class c WHERE c.relnamespace = 'bench'::regnamespace"
        ).fetchone()
    # Each has a file with something in it, and no TOAST table comes on top.
    assert row == (300, 300, 0)


def test_recreate_leaves_what_was_not_made_here(cluster: Cluster, empty: str) -> None:
    arguments = ["relations", "--dsn", cluster.dsn(empty, "erp_owner"), "--count", "4"]
    assert main(arguments) == ExitCode.OK
    cluster.execute("CREATE TABLE bench.somebody_elses (id integer)", empty)

    assert main([*arguments, "--recreate"]) == ExitCode.FAILED

    with psycopg.connect(cluster.dsn(empty)) as connection:
        assert connection.execute("SELECT count(*) FROM bench.somebody_elses").fetchone() == (0,)
