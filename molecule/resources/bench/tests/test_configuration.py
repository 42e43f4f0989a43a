"""Variants of a pgBackRest configuration differ in what is meant, and in nothing else."""

from __future__ import annotations

from bench.configuration import Configuration

MAIN = """\
# written by the role
[global]
process-max=2
repo1-type=posix
repo1-path=/backups/pgbackrest
repo1-block=y
repo1-block-size-map=8192KiB=8KiB
repo2-type=s3
repo2-path=/pgbackrest
repo2-bundle=y
repo2-block=y
repo2-block-size-map=8192KiB=8KiB
repo2-block-size-map=11264KiB=16KiB

[global:backup]
process-max=1

[erp]
pg1-path=/var/lib/postgresql/17/main
pg1-port=5432
"""
SECRETS = "[global]\nrepo1-cipher-pass=a=b\nrepo2-cipher-pass=second\n"
ROLE = Configuration.parse(MAIN, SECRETS)


def test_what_was_read_is_written_with_every_repeated_option() -> None:
    assert Configuration.parse(ROLE.text()).options == tuple(sorted(ROLE.options, key=_section_order))
    assert ROLE.text().count("repo2-block-size-map=") == 2
    assert "repo1-cipher-pass=a=b" in ROLE.text()
    assert "#" not in ROLE.text()


def test_one_repository_is_kept_under_a_new_number_and_path() -> None:
    found = ROLE.repositories([(2, "/bench/ours")])
    repository = [option[1:] for option in found.options if option[1].startswith("repo")]
    assert repository == [
        ("repo1-type", "s3"),
        ("repo1-path", "/bench/ours"),
        ("repo1-bundle", "y"),
        ("repo1-block", "y"),
        ("repo1-block-size-map", "8192KiB=8KiB"),
        ("repo1-block-size-map", "11264KiB=16KiB"),
        ("repo1-cipher-pass", "second"),
    ]
    assert ("global", "process-max", "2") in found.options


def test_the_stanza_is_replaced_and_the_commands_sections_stay() -> None:
    found = ROLE.stanza("bench", data="/data", port=5433)
    assert not [option for option in found.options if option[0] == "erp"]
    assert ("bench", "pg1-path", "/data") in found.options
    assert ("global:backup", "process-max", "1") in found.options


def test_plain_blocks_lose_only_the_map() -> None:
    lost = set(ROLE.options) - set(ROLE.plain_blocks().options)
    assert {name for _, name, _ in lost} == {"repo1-block-size-map", "repo2-block-size-map"}
    assert ("global", "repo2-block", "y") in ROLE.plain_blocks().options


def test_no_blocks_switches_them_off_in_each_repository() -> None:
    values = {name: value for _, name, value in ROLE.no_blocks().options if "block" in name}
    assert values == {"repo1-block": "n", "repo2-block": "n"}


def _section_order(option: tuple[str, str, str]) -> int:
    return ["global", "global:backup", "erp"].index(option[0])
