"""The card of a dataset that is shared: licence, source, channels, units, splits, fingerprint; and its README."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sardino.errors import SardinoError
from sardino.tiles.tileset import TileStore

CARD = "card.json"
README = "README.md"
STORE = "store"
CHECKSUMS = "checksums.sha256"
PACKAGE_FORMAT = "sardino-package"
PACKAGE_VERSION = 1


@dataclass(frozen=True)
class Sharing:
    """What only its maker can say about a dataset.

    Args:
        title: one line.
        licence: for example "CC-BY-4.0".
        source: where the pixels come from and whom to cite.
        notes: further text for the README, Markdown.
        files: files to add beside the store: the tile table, a paper.
    """

    title: str
    licence: str
    source: str
    notes: str = ""
    files: Sequence[Path] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        for name in ("title", "licence", "source"):
            if not getattr(self, name).strip():
                raise SardinoError(f"a dataset cannot be shared without its {name}: name it with --{name}")


def card_of(store: TileStore, sharing: Sharing) -> dict[str, Any]:
    """What a user must know before reading the first pixel, as JSON values."""
    index = store.index
    return {
        "format": PACKAGE_FORMAT,
        "version": PACKAGE_VERSION,
        "title": sharing.title,
        "licence": sharing.licence,
        "source": sharing.source,
        "product": store.product,
        "synthetic": store.synthetic,
        "channels": store.channels,
        "unit": store.unit,
        "layers": store.layers,
        "legend": store.legend.to_dict(),
        "tile_px": store.tile_px,
        "tiles": len(store),
        "regions": store.regions,
        "crs": sorted(set(map(str, index["crs"]))),
        "splits": {split: Counter(map(str, index["split"]))[split] for split in ("train", "val", "test")},
        "fingerprint": store.fingerprint,
    }


def readme_of(card: dict[str, Any], notes: str = "") -> str:
    """The card as a page for people."""
    classes = "\n".join(f"| {c['code']} | {c['name']} | {c['color']} |" for c in card["legend"]["classes"])
    derived = " These labels were derived from another image and are no reference product." * card["legend"]["derived"]
    origin = "simulated: no pixel of it was ever measured" if card["synthetic"] else "measured"
    return f"""# {card["title"]}

Licence: {card["licence"]}

Source: {card["source"]}

{card["tiles"]} tiles of {card["tile_px"]} x {card["tile_px"]} px.
Regions: {", ".join(card["regions"])}; {", ".join(card["crs"])}.
Product: {card["product"]} ({origin}).

- Channels, in {card["unit"]}: {", ".join(card["channels"])}
- Reference layers: {", ".join(card["layers"]) or "none"}
- Splits: {", ".join(f"{count} {split}" for split, count in card["splits"].items())}
- Fingerprint of all pixels, places and splits: `{card["fingerprint"]}`

## Classes: {card["legend"]["name"]}

| code | class | colour |
|---|---|---|
{classes}

Labels are stored as the class's place in this table, 255 where there is none.{derived}

## Reading

`sardino tiles unpack` checks every file. Then

    from sardino.tiles.tileset import TileStore
    store = TileStore.open("{STORE}")
    backscatter, label = store.read(store.ids("train")[:8])

or without sardino: `xarray.open_zarr("{STORE}/tiles.zarr")`, `geopandas.read_parquet("{STORE}/tiles.parquet")`.
{notes and chr(10) + notes.rstrip() + chr(10)}"""
