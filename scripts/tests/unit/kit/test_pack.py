"""A kit opens as it was packed, or not at all."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pgdr.errors import NotProvenError, RefusedError
from pgdr.kit.pack import Manifest, describe, pack, unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as playbooks/kit.yml fills it."""
    made = tmp_path / "made"
    (made / "wheelhouse").mkdir(parents=True)
    (made / "policy.yml").write_text("recovery_policy: {}\n", encoding="utf-8")
    (made / "wheelhouse" / "x-py3.13-x86_64.tar").write_bytes(b"\0wheels")
    return made


def _packed(folder: Path, archive: Path) -> Manifest:
    manifest = describe(folder, "erp")
    pack(folder, manifest, archive)
    return manifest


def test_what_comes_out_is_what_went_in(folder: Path, tmp_path: Path) -> None:
    manifest = _packed(folder, tmp_path / "kit.tar")
    assert unpack(tmp_path / "kit.tar", tmp_path / "new", "erp").digest == manifest.digest
    assert (tmp_path / "new" / "wheelhouse" / "x-py3.13-x86_64.tar").read_bytes() == b"\0wheels"
    assert (tmp_path / "kit.tar").stat().st_mode & 0o077 == 0


def test_the_digest_is_of_names_and_contents_and_not_of_times(folder: Path) -> None:
    first = describe(folder, "erp").digest
    (folder / "policy.yml").touch()
    assert describe(folder, "erp").digest == first
    assert describe(folder, "other").digest != first
    (folder / "policy.yml").rename(folder / "policy2.yml")
    assert describe(folder, "erp").digest != first


def test_a_changed_file_and_one_too_many_are_named(folder: Path, tmp_path: Path) -> None:
    manifest = _packed(folder, tmp_path / "kit.tar")
    (folder / "policy.yml").write_text("recovery_policy: {evil: true}\n", encoding="utf-8")
    (folder / "more.yml").write_text("x", encoding="utf-8")
    pack(folder, manifest.model_copy(update={"files": {**manifest.files, "more.yml": ""}}), tmp_path / "bad.tar")
    with pytest.raises(NotProvenError, match=r"damaged: more\.yml, policy\.yml"):
        unpack(tmp_path / "bad.tar", tmp_path / "new", "erp")


def test_a_kit_of_another_cluster_is_refused(folder: Path, tmp_path: Path) -> None:
    _packed(folder, tmp_path / "kit.tar")
    with pytest.raises(RefusedError, match="of stanza erp, wanted is hr"):
        unpack(tmp_path / "kit.tar", tmp_path / "new", "hr")


def test_nothing_is_unpacked_over_what_is_there(folder: Path, tmp_path: Path) -> None:
    _packed(folder, tmp_path / "kit.tar")
    with pytest.raises(RefusedError, match="is not empty"):
        unpack(tmp_path / "kit.tar", folder, "erp")


def test_an_archive_that_would_write_elsewhere_is_no_kit(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "kit.tar", "w") as tar:
        entry = tarfile.TarInfo("../outside")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(NotProvenError, match="not a recovery kit"):
        unpack(tmp_path / "kit.tar", tmp_path / "new", "erp")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("content", [b"", b"no tar at all"], ids=["empty", "text"])
def test_what_is_no_archive_is_no_kit(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kit.tar").write_bytes(content)
    with pytest.raises(NotProvenError, match="not a recovery kit"):
        unpack(tmp_path / "kit.tar", tmp_path / "new", "erp")
