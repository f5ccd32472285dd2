"""Recognition of text in pictures: one engine per file, and what makes pages of the lines that it reads."""

from rag.backends.ocr import rapidocr, tesseract


def engines() -> dict[str, str]:
    """The version of each engine, "" where it is missing, and the "languages" of Tesseract with blanks between."""
    return {
        "rapidocr": rapidocr.version(),
        "tesseract": tesseract.version(),
        "languages": " ".join(sorted(tesseract.installed())),
    }
