"""Pictures: what the parser of pictures promises. Their words come from recognition (tests/contracts/test_ocr.py)."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from rag.backends.parsers import parser_for
from rag.backends.parsers.image import ImageParser
from rag.domain.errors import Permanent
from rag.domain.types import ParsedDocument, Reading
from tests.contracts.test_parsers import ParserContract


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # what the library says of half a file, before it gives up
class TestImage(ParserContract):
    parser, suffix, has_headings = ImageParser, ".tiff", False

    def make(self, path: Path) -> Path:
        frames = [Image.new("L", (400, 200), 255) for _ in range(2)]
        for frame in frames:
            ImageDraw.Draw(frame).text((20, 80), self.known, fill=0)
        frames[0].save(path, save_all=True, append_images=frames[1:], dpi=(144, 144))
        return path

    def test_the_known_words_are_found(self, document: ParsedDocument) -> None:
        """Not by the parser: each frame is a page of its size whose picture is to be recognised."""
        assert [(page.number, page.reading, page.text) for page in document.pages] == [
            (1, Reading.UNREAD, ""),
            (2, Reading.UNREAD, ""),
        ]
        assert {(page.width, page.height) for page in document.pages} == {(200.0, 100.0)}

    def test_an_empty_file_and_other_content_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Permanent, match="empty"):
            parser_for(f"a{self.suffix}", b"")
        for head in (b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"):
            with pytest.raises(Permanent, match="it holds a"):
                parser_for(f"a{self.suffix}", head)
