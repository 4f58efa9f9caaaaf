"""What a caption must say about pixels and labels, in one wording everywhere."""


def provenance(*, synthetic: bool, derived: bool = False) -> str:
    """The words for a title or caption: a reader must never take made or derived labels for a product."""
    source = "synthetic world" if synthetic else "real chips"
    return f"{source}, derived labels" if derived else source
