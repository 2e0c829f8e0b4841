"""A report's page, read and checked."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Elements, attributes and text; asserts that what is opened is closed.

    Attributes:
        elements: each tag with its attributes.
        texts: each text with the tags that are open around it.
        text: all that is shown, in which white space is one space.
        style: the style sheet.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)
        self.close()
        assert not self.open
        self.text = " ".join("".join(text for text, around in self.texts if "body" in around).split())
        self.style = "".join(text for text, around in self.texts if "style" in around)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((data, tuple(self.open)))


def read_page(folder: Path) -> Page:
    """The page of a report: one file, which asks for no other and runs nothing."""
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "svg"}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,iVBOR") and attributes["alt"]
        if tag == "a":
            assert attributes["href"][1:] in {a.get("id") for _, a in page.elements}
    assert "color" in page.style and "url(" not in page.style and "@import" not in page.style
    return page
