"""``pgdr-infra estimate``: figures that can be checked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pgdr_infra.cli import main
from pgdr_infra.estimate.prices import DEFAULT
from tests.recorder import INFRA

PRODUCTION = str(INFRA.parent / "inventories/production/group_vars/all/policy.yml")
GIB = 2**30


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["estimate", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def _lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[tuple[str, str, str, str], dict[str, float]]:
    status, out, _ = _run(capsys, *arguments, "--output", "json")
    assert status == 0
    document = json.loads(out)
    assert document["total"] == pytest.approx(sum(line["cost"] for line in document["lines"]), abs=0.01)
    return {(x["where"], x["prefix"], x["storage_class"], x["note"]): x for x in document["lines"]}


def test_figures_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """100 GiB, stored whole, nothing changes: 31 fulls live and 35 hidden, at 0.023 a GiB."""
    lines = _lines(capsys, PRODUCTION, "--database-size", "100GiB", "--change", "0", "--compression", "100")
    backups = "pgbackrest/backup/erp/"
    assert lines["store", backups, "STANDARD", "31 days live"]["gib"] == pytest.approx(3100)
    assert lines["store", backups, "STANDARD", "31 days live"]["cost"] == pytest.approx(71.3)
    assert lines["store", backups, "STANDARD", "35 days hidden, locked"]["cost"] == pytest.approx(80.5)
    assert lines["replica", backups, "STANDARD", "32 days live"]["gib"] == pytest.approx(3200)
    weekly = lines["store", "archive/weekly/erp/", "STANDARD_IA", "then to day 84, 35 hidden"]
    assert weekly["gib"] == pytest.approx(100 / 7 * (84 - 30 + 35), rel=1e-3)
    assert weekly["cost"] == pytest.approx(100 / 7 * 89 * 0.0125, rel=1e-3)
    assert lines["store", "archive/annual/erp/", "DEEP_ARCHIVE", "then to day 2557, 35 hidden"]["gib"] == pytest.approx(
        100 / 365 * 2591, rel=1e-3
    )


def test_change_and_wal_cost(capsys: pytest.CaptureFixture[str]) -> None:
    wal = ("store", "pgbackrest/archive/erp/", "STANDARD", "31 days live")
    calm = _lines(capsys, PRODUCTION, "--database-size", "100GiB", "--change", "0", "--compression", "100")
    busy = _lines(
        capsys, PRODUCTION, "--database-size", "100GiB", "--change", "5", "--compression", "100", "--wal", "20GiB"
    )
    assert calm[wal]["gib"] == 0
    assert busy[wal]["gib"] == pytest.approx(620)
    backups = ("store", "pgbackrest/backup/erp/", "STANDARD", "31 days live")
    assert busy[backups]["gib"] == pytest.approx(31 * 105)


def test_table_for_a_person_has_its_total_and_the_date_of_its_prices(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, PRODUCTION, "--database-size", "500GB")
    assert status == 0
    assert "DEEP_ARCHIVE" in out
    assert out.splitlines()[-2].startswith("total")
    assert f"Prices of {yaml.safe_load(DEFAULT.read_text())['date']}" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([PRODUCTION, "--database-size", "500"], "--database-size: '500' is not a size"),
        ([PRODUCTION, "--database-size", "1GB", "--prices", "/nowhere.yml"], "cannot read /nowhere.yml"),
        (["/nowhere.yml", "--database-size", "1GB"], "no policy at /nowhere.yml"),
        ([PRODUCTION, "--database-size", "1GB", "--repository", "1"], "no repository of type s3 with id 1"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
    status, out, err = _run(capsys, *arguments)
    assert (status, out) == (3, "")
    assert expected in err
    assert err.count("\n") == 1


def test_a_region_without_prices_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = yaml.safe_load(DEFAULT.read_text())
    del document["regions"]["us-west-2"]
    table = tmp_path / "prices.yml"
    table.write_text(yaml.safe_dump(document))
    status, _, err = _run(capsys, PRODUCTION, "--database-size", "1GB", "--prices", str(table))
    assert status == 3
    assert "no prices for the region us-west-2" in err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _run(capsys, "--help")
    assert status == 0
    assert "pgdr-infra estimate inventories/production/group_vars/all/policy.yml --database-size 500GB" in out
