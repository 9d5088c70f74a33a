"""A parsed page, for tests to ask questions of."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "link", "img", "br", "hr", "input"}


class Element:
    def __init__(self, tag: str, attributes: dict[str, str | None], parent: Element | None):
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Element] = []
        self.pieces: list[str | Element] = []

    @property
    def text(self) -> str:
        """Its text, without space around."""
        return "".join(p if isinstance(p, str) else p.text for p in self.pieces).strip()

    def __getitem__(self, name: str) -> str:
        value = self.attributes[name]
        assert value is not None
        return value

    def get(self, name: str) -> str | None:
        return self.attributes.get(name)

    def all(self, tag: str | None = None) -> list[Element]:
        """It and everything below it, in order."""
        found = [self] if tag in (None, self.tag) else []
        return found + [e for child in self.children for e in child.all(tag)]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.open = Element("", {}, None)

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> repeats an attribute: {attrs}"
        element = Element(tag, dict(attrs), self.open)
        self.open.children.append(element)
        self.open.pieces.append(element)
        if tag not in _VOID:
            self.open = element

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.tag == tag, f"</{tag}> closes <{self.open.tag}>"
        self.open = self.open.parent

    def handle_data(self, data):
        self.open.pieces.append(data)


def read_page(file: Path) -> Element:
    """Parses a page; fails if its tags are not balanced."""
    builder = _Builder()
    builder.feed(file.read_text(encoding="utf-8"))
    builder.close()
    assert builder.open is builder.root, f"<{builder.open.tag}> is never closed"
    return builder.root


def by_id(page: Element, name: str) -> Element:
    (found,) = (e for e in page.all() if e.get("id") == name)
    return found


def with_class(page: Element, name: str) -> list[Element]:
    return [e for e in page.all() if name in (e.get("class") or "").split()]
