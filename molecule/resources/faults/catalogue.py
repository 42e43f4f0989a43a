"""The faults: how each is made on a protected host, where it must show, and how it is cured.

Numbers are those of the requirement's fault list. `promised` is the time in which people must know: the interval of
`pgdr watch` and the threshold of the finding, with half a minute for the work itself. What only a whole read of a
repository shows is promised for the next verification; there the job is started at once, and its own run is measured.
"""

from __future__ import annotations

from faults.fault import DAY, LOOK, Fault, Step
from faults.ground import LAG_SECONDS, SILENCE_SECONDS, Ground, quoted
from faults.limits import LIMITS
from faults.network import NETWORK
from faults.refusals import REFUSALS

_CREDENTIALS = "/etc/pgbackrest/conf.d/credentials.conf"
_SAVED = "/root/faults-saved"
_JOURNAL = "/var/lib/pgdr/journal.jsonl"


def _s3_stops(ground: Ground) -> None:
    ground.lab.stop_s3()


def _s3_returns(ground: Ground) -> None:
    ground.lab.start_s3()


def _credential(key: str) -> Step:
    def spoil(ground: Ground) -> None:
        ground.shell(f"cp -p {_CREDENTIALS} {_SAVED}; sed -i 's/^{key}=.*/{key}=spoiled/' {_CREDENTIALS}")

    return spoil


def _credentials_return(ground: Ground) -> None:
    ground.shell(f"cp -p {_SAVED} {_CREDENTIALS}")


def _archive_command(command: str) -> Step:
    def change(ground: Ground) -> None:
        ground.sql(f"alter system set archive_command = '{command}'")
        ground.sql("select pg_reload_conf()")

    return change


def _archive_command_returns(ground: Ground) -> None:
    ground.sql("alter system reset archive_command")
    ground.sql("select pg_reload_conf()")


def _close_segment(ground: Ground) -> None:
    ground.sql("select pg_switch_wal()")


def _verify(ground: Ground) -> None:
    ground.job("verify", "/usr/local/bin/pgdr", "verify")


def _claimed_cured(ground: Ground) -> None:
    _archive_command_returns(ground)
    _verify(ground)


def _segment_goes(ground: Ground) -> None:
    for _ in range(3):
        ground.write_rows("before the hole", 10)
        ground.archived()
    ground.shell("ls /backups/pgbackrest/archive/*/*/*/0*-* | sort | tail -n 2 | head -n 1 | xargs rm")


def _bundle(ground: Ground) -> str:
    return ground.shell("ls -S $(ls -d /backups/pgbackrest/backup/*/*F | tail -n 1)/bundle/* | head -n 1").strip()


def _bit_flips(ground: Ground) -> None:
    path = quoted(_bundle(ground))
    ground.shell(f"cp -p {path} {_SAVED}; echo {path} > {_SAVED}.path")
    ground.shell(
        f"printf 'flipped bits' | dd of={path} bs=1 seek=$(($(stat -c %s {path}) / 2)) conv=notrunc status=none"
    )


def _bits_return(ground: Ground) -> None:
    ground.shell(f"cp -p {_SAVED} $(cat {_SAVED}.path)")
    _verify(ground)


def _page(ground: Ground) -> str:
    return ground.sql("select current_setting('data_directory') || '/' || pg_relation_filepath('faults.page')")


def _page_breaks(ground: Ground) -> None:
    ground.sql("checkpoint")
    path = quoted(_page(ground))
    ground.shell(
        f"cp -p {path} {_SAVED}; printf 'broken page!' | dd of={path} bs=1 seek=25000 conv=notrunc status=none"
    )


def _back_up(ground: Ground) -> None:
    ground.job("backup-full", "/usr/local/bin/pgdr", "backup", "full", "--repo", "1")


def _page_returns(ground: Ground) -> None:
    ground.shell(f"cp -p {_SAVED} {quoted(_page(ground))}")
    _back_up(ground)
    # The damaged set stays until a newer good one is verified; a person may remove it now.
    ground.shell(
        "label=$(ls -d /backups/pgbackrest/backup/*/*F | tail -n 2 | head -n 1 | xargs basename);"
        " runuser -u postgres -- pgbackrest --stanza=erp --repo=1 --set=$label expire"
    )


def _archive_breaks(ground: Ground) -> None:
    path = quoted(ground.shell("find /backups/postgres/2* -type f -size +20k | sort | tail -n 1").strip())
    ground.shell(f"cp -p {path} {_SAVED}; echo {path} > {_SAVED}.path")
    ground.shell(f"printf 'flipped bits' | dd of={path} bs=1 seek=9000 conv=notrunc status=none")


def _verify_archive(ground: Ground) -> None:
    ground.job("archive-verify", "/usr/local/bin/pgdr", "archives", "verify", "--all")


def _archive_returns(ground: Ground) -> None:
    ground.shell(f"cp -p {_SAVED} $(cat {_SAVED}.path)")
    _verify_archive(ground)


def _no_job(ground: Ground) -> None:
    ground.shell(f"cp -p /etc/cron.d/erp-backup {_SAVED}; sed -i '/ heartbeat \\//d' /etc/cron.d/erp-backup")


def _job_returns(ground: Ground) -> None:
    ground.shell(f"cp -p {_SAVED} /etc/cron.d/erp-backup")


def _journal_edited(ground: Ground) -> None:
    ground.shell(f'sed -i \'2s/"result":"ok"/"result":"no"/\' {_JOURNAL}')


def _journal_as_written(ground: Ground) -> None:
    ground.shell(f'sed -i \'2s/"result":"no"/"result":"ok"/\' {_JOURNAL}')


def _journal_cut(ground: Ground) -> None:
    ground.shell(f"tail -n 1 {_JOURNAL} > {_SAVED}; sed -i '$d' {_JOURNAL}")


def _journal_whole(ground: Ground) -> None:
    ground.shell(f"cat {_SAVED} >> {_JOURNAL}")


def _proof_old(ground: Ground) -> None:
    ground.shell(r"""sed -i -E 's/("proven": )"20[0-9]{2}/\1"2020/' /var/lib/pgdr/marks.json""")


def _rehearse(ground: Ground) -> None:
    ground.pgdr("rehearse", "--only", "backup", "--only", "archive", "--repo", "1")


def _channel_dies(ground: Ground) -> None:
    ground.channels(first=1)


def _some_job_fails(ground: Ground) -> None:
    ground.job("any", "/bin/false")


def _channel_lives(ground: Ground) -> None:
    ground.channels(first=18080)
    ground.pgdr("notify", "test")


def _watch_stops(ground: Ground) -> None:
    ground.shell(f"cp -p /etc/cron.d/erp-backup {_SAVED}; sed -i '/ watch \\//d' /etc/cron.d/erp-backup")


def _watch_returns(ground: Ground) -> None:
    _job_returns(ground)
    ground.pgdr("watch")
    ground.expect("no sign of life" not in ground.heard()[-1].title, "the switch heard of the host again")


FAULTS = (
    Fault("1", "S3 unreachable", "repository:2", ("repository, repository 2",), LOOK, "watch", _s3_stops, _s3_returns),
    Fault(
        "17", "the repository's key is revoked", "repository:2", ("repository, repository 2",), LOOK, "watch",
        _credential("repo2-s3-key-secret"), _credentials_return,
    ),
    Fault(
        "25", "the repository's passphrase is lost", "repository:2", ("repository, repository 2",), LOOK, "watch",
        _credential("repo2-cipher-pass"), _credentials_return,
    ),
    Fault(
        "7", "the archive command ends with 127", "archiving", ("archiving", "rpo"), LAG_SECONDS + LOOK, "watch",
        _archive_command("exit 127"), _archive_command_returns, look=_close_segment,
    ),
    Fault(
        "8", "the archive command stores nothing and says it did", "wal-claimed:1", ("wal-claimed",), LOOK, "watch",
        _archive_command("/bin/true"), _claimed_cured, look=_close_segment,
    ),
    Fault(
        "4", "a WAL segment is gone from a repository", "wal-hole:1", ("job verify failed", "wal-hole"), DAY,
        "verify, started at once", _segment_goes, _verify, look=_verify,
    ),
    Fault(
        "11", "a page of the database is damaged", "pages:1", ("job backup-full failed", "pages"), DAY,
        "backup, started at once", _page_breaks, _page_returns, look=_back_up,
    ),
    Fault(
        "12", "bits flip in a repository", "sets:1", ("job verify failed", "sets"), DAY, "verify, started at once",
        _bit_flips, _bits_return, look=_verify,
    ),
    Fault(
        "13", "an archive is damaged", "job-archive-verify", ("job archive-verify failed",), DAY,
        "archives verify, started at once", _archive_breaks, _archive_returns, look=_verify_archive, rows=False,
    ),
    Fault(
        "", "a scheduled job no longer runs", "job-heartbeat", ("job-heartbeat",), 180 + LOOK, "watch", _no_job,
        _job_returns, rows=False,
    ),
    Fault(
        "", "an entry of the journal is edited", "journal", ("journal",), LOOK, "watch", _journal_edited,
        _journal_as_written, rows=False,
    ),
    Fault(
        "", "the end of the journal is cut off", "journal", ("journal",), LOOK, "watch", _journal_cut, _journal_whole,
        rows=False,
    ),
    Fault(
        "", "nothing was proven for too long", "proven", (": proven",), LOOK, "watch", _proof_old, _rehearse,
        rows=False,
    ),
    Fault(
        "30", "a notification channel is dead", "notify-first", ("job any failed",), 30, "the job that fails",
        _channel_dies, _channel_lives, look=_some_job_fails, rows=False,
    ),
    Fault(
        "30", "the host falls silent: pgdr watch no longer runs", "", ("no sign of life",), SILENCE_SECONDS + LOOK,
        "the dead-man's switch", _watch_stops, _watch_returns, rows=False,
    ),
    *REFUSALS,
    *LIMITS,
    *NETWORK,
)  # fmt: skip
