"""An HTML page as tests read it, and how they start a browser that asks nobody."""

from html.parser import HTMLParser
from pathlib import Path

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]


class Page(HTMLParser):
    """Tags with their attributes, and the words of the page with plain spaces."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data.replace("\N{NO-BREAK SPACE}", " ")

    def all(self, tag, attribute):
        return [values.get(attribute) for name, values in self.tags if name == tag]
