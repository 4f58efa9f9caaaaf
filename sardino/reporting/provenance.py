"""What a caption must say about pixels and labels, in one wording everywhere."""

from collections.abc import Iterable

from sardino.tiles.landcover import Legend


def provenance(*, synthetic: bool, derived: bool = False) -> str:
    """The words for a title or caption: a reader must never take made or derived labels for a product."""
    source = "synthetic world" if synthetic else "real chips"
    return f"{source}, derived labels" if derived else source


def captioned(title: str, legends: Iterable[Legend | None]) -> str:
    """The title of a figure with maps; it names derived labels even where its writer forgot to."""
    if any(legend is not None and legend.derived for legend in legends) and "derived" not in title.lower():
        return f"{title} (derived labels)"
    return title
