"""What archives and e-books need of their parsers."""

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from rag.backends.parsers.archive import ZipParser
from rag.backends.parsers.base import Work
from rag.backends.parsers.epub import EpubParser
from rag.domain.errors import Permanent, Protected
from tests.contracts.test_mail_parsers import with_files
from tests.contracts.test_parsers import (
    FILES,
    HOSTILE,
    ContainerContract,
    ParserContract,
    check_promises,
    needs_files,
    needs_hostile,
    parse,
    text_of,
)


def zipped(path: Path, files: Mapping[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


class TestZip(ContainerContract):
    parser, suffix = ZipParser, ".zip"

    def make(self, path: Path, files: Mapping[str, bytes]) -> Path:
        return zipped(path, files)


def epub(path: Path, chapters: Mapping[str, str], *, more: Mapping[str, str] | None = None) -> Path:
    container = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    items = "".join(
        f'<item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(chapters)
    )
    # The spine, not the list of files, gives the order.
    spine = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    about = "<dc:title>On leases</dc:title><dc:creator>Ada</dc:creator>"
    about = f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{about}</metadata>'
    book = f"<package>{about}<manifest>{items}</manifest><spine>{spine}</spine></package>"
    parts = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OPS/book.opf": book}
    return zipped(path, parts | {f"OPS/{name}": text for name, text in chapters.items()} | dict(more or {}))


class TestEpub(ParserContract):
    parser, suffix = EpubParser, ".epub"

    def make(self, path: Path) -> Path:
        return epub(path, {"one.xhtml": f"<html><body><h1>{self.named_heading}</h1><p>{self.known}</p></body></html>"})


# --- ZIP


def test_folders_are_kept_and_litter_is_left(tmp_path: Path) -> None:
    names = ("b/one.txt", "b/c/two.txt", "__MACOSX/b/._one.txt", "b/.DS_Store", "Thumbs.db", "b/._x", "e/")
    document, files = with_files(zipped(tmp_path / "a.zip", dict.fromkeys(names, "x")))
    assert list(files) == ["b/one.txt", "b/c/two.txt"]
    assert document.warnings == ()


def test_members_that_lead_outside_and_links_are_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../out.txt", "x")
        archive.writestr("/abs.txt", "x")
        archive.writestr(link, "/etc/hostname")
        archive.writestr("kept.txt", "x")
    document, files = with_files(path)
    assert list(files) == ["kept.txt"]
    assert document.warnings == (
        "“out.txt” asks for a place outside the archive and was left out.",
        "“abs.txt” asks for a place outside the archive and was left out.",
        "“link.txt” is a link to another file and was left out.",
    )


@needs_files
def test_names_are_read_in_the_encoding_they_were_written_in() -> None:
    _, files = with_files(FILES / "archives/tika__gbk.zip")
    assert list(files) == ["审计压缩包文件检索测试/集团邮件审计系统2021年自动巡检需求文档_V4.0.doc"]


def test_too_many_files_and_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="holds 2,001 files"):
        parse(zipped(tmp_path / "a.zip", {f"{n}.txt": "" for n in range(2_001)}))
    with pytest.raises(Permanent, match="too large when unpacked"):
        parse(zipped(tmp_path / "a.zip", {"a.txt": bytes(20_000_000)}))


def test_a_file_longer_than_it_says_is_stopped(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.txt": b"words " * 1000})
    data = bytearray(path.read_bytes())
    size = len(b"words " * 1000).to_bytes(4, "little")
    place = data.rfind(size)
    data[place : place + 4] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(Permanent, match=r"damaged|too large"):
        with_files(path)


@needs_files
def test_an_encrypted_archive_asks_for_its_password() -> None:
    path = FILES / "archives/tika__testZipEncrypted.zip"
    for password in ("", "surely wrong"):
        with pytest.raises(Protected, match="protected by a password"):
            ZipParser().parse(path, Work(password=password))


@pytest.mark.parametrize(
    ("part", "kind"), [("word/document.xml", "a Word document"), ("xl/workbook.xml", "an Excel workbook")]
)
def test_an_office_file_named_zip_is_no_folder(tmp_path: Path, part: str, kind: str) -> None:
    with pytest.raises(Permanent, match=f"it holds {kind}"):
        parse(zipped(tmp_path / "a.zip", {"[Content_Types].xml": "<Types/>", part: "<x/>"}))


def test_an_archive_without_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="holds no files"):
        parse(zipped(tmp_path / "a.zip", {}))


@needs_hostile
@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("archives/zip_slip.zip", ["ok.txt"]),
        ("archives/zip_absolute.zip", []),
        ("archives/zip_symlink.zip", ["ok.txt"]),
        ("archives/zip_duplicate_names.zip", ["a.txt", "a (2).txt"]),
        ("real/droste.zip", ["droste.jpg", "droste.zip"]),
    ],
)
def test_hostile_archives_give_their_harmless_files(name: str, names: list[str]) -> None:
    _, files = with_files(HOSTILE / name)
    assert list(files) == names


@needs_hostile
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bombs/bomb_flat_300MB.zip", "too large when unpacked"),
        ("bombs/many_files_20000.zip", "holds 20,000 files"),
        ("real/testZIP_corrupted_oom.zip", "damaged"),
        ("xml/xxe_container.epub", "XML entities"),
    ],
)
def test_hostile_archives_are_refused_for_the_right_reason(name: str, sentence: str) -> None:
    with pytest.raises(Permanent, match=sentence):
        with_files(HOSTILE / name)


# --- E-books


def test_chapters_come_in_the_order_of_the_spine(tmp_path: Path) -> None:
    chapters = {name: f"<html><body><h1>{name}</h1><p>words</p></body></html>" for name in ("b.xhtml", "a.xhtml")}
    document = parse(epub(tmp_path / "a.epub", chapters))
    check_promises(document)
    assert document.title == "On leases"
    assert document.properties == {"author": "Ada"}
    assert [page.text for page in document.pages] == ["a.xhtml\n\nwords", "b.xhtml\n\nwords"]
    assert all(page.number is None for page in document.pages)


@pytest.mark.parametrize(
    ("method", "refused"),
    [("http://www.w3.org/2001/04/xmlenc#aes128-cbc", True), ("http://www.idpf.org/2008/embedding", False)],
)
def test_a_book_under_drm_is_refused_and_one_with_garbled_fonts_is_not(
    tmp_path: Path, method: str, refused: bool
) -> None:
    locked = f'<encryption><EncryptedData><EncryptionMethod Algorithm="{method}"/></EncryptedData></encryption>'
    path = epub(tmp_path / "a.epub", {"a.xhtml": "<p>words</p>"}, more={"META-INF/encryption.xml": locked})
    if not refused:
        assert text_of(parse(path)) == "words"
        return
    with pytest.raises(Permanent, match="protected against copying"):
        parse(path)


def test_a_missing_chapter_is_said(tmp_path: Path) -> None:
    path = epub(tmp_path / "a.epub", {"a.xhtml": "<p>words</p>", "gone.xhtml": "<p>more</p>"})
    with zipfile.ZipFile(path) as old:
        kept = {name: old.read(name) for name in old.namelist() if "gone" not in name}
    assert parse(zipped(path, kept)).warnings == ("A chapter is missing from this e-book.",)
