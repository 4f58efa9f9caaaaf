"""Label shares: how much of each class a tile holds, counted on pixels or taken over from coarser polygons."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.contents.label_rasters import LabelRasters
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import Legend
from sardino.tiles.tileset import ARRAYS, TileStore

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def shares_of(label: NDArray[np.uint8], legend: Legend) -> dict[str, float]:
    """Shares of one tile.

    Args:
        label: class indices of any shape, IGNORE where unlabelled.
        legend: classes of the indices.

    Returns:
        share_<code> of the labelled pixels for each class (NaN where no pixel is labelled), and
        labelled_share, the labelled pixels among all.
    """
    return shares_of_counts(np.bincount(label.ravel(), minlength=256), label.size, legend)


def shares_of_counts(counts: NDArray[np.int64], size: int, legend: Legend) -> dict[str, float]:
    """Shares of counted pixels.

    Args:
        counts: (256,) pixels of each class index.
        size: all pixels, with and without a label.
        legend: classes of the indices.
    """
    pixels = counts[: len(legend)]
    labelled = int(pixels.sum())
    shares = pixels / labelled if labelled else np.full(len(legend), np.nan)
    named = {f"share_{code}": float(share) for code, share in zip(legend.codes, shares, strict=True)}
    return named | {"labelled_share": labelled / size if size else 0.0}


def shares_in_store(store: TileStore, layer: str = "label", progress: Progress = iter) -> pd.DataFrame:
    """Shares of all tiles of a store, one tile in memory at a time, indexed by tile id.

    Args:
        store: counted in the classes of its legend.
        layer: "label", or a reference layer that holds classes: "landcover_300m".
    """
    if layer not in ("label", "landcover_300m"):
        raise SardinoError(f"layer '{layer}' holds no classes: count 'label' or 'landcover_300m'")
    if layer == "label":
        # Read beside the store: its own reading brings the twelve channels along.
        labels = zarr.open_array(store.path / ARRAYS / "label", mode="r")
        rows = [shares_of(np.asarray(labels[store.row(tile)]), store.legend) for tile in progress(store.ids())]
    else:
        rows = [shares_of(store.read_layer(layer, [tile])[0], store.legend) for tile in progress(store.ids())]
    return pd.DataFrame(rows, index=pd.Index(store.ids(), name="id"))


def shares_in_rasters(tiles: Sequence[Tile], rasters: LabelRasters, progress: Progress = iter) -> pd.DataFrame:
    """Shares of tiles counted on label rasters, one tile in memory at a time, indexed by tile id.

    A tile without a label has labelled_share 0 and NaN shares.
    """
    rows = [shares_of(rasters.read(tile), rasters.legend) for tile in progress(tiles)]
    return pd.DataFrame(rows, index=pd.Index([tile.id for tile in tiles], name="id"))


def with_shares(
    table: geopandas.GeoDataFrame, shares: pd.DataFrame, prefix: str = "", overwrite: bool = False
) -> geopandas.GeoDataFrame:
    """A tile table with shares as further columns, matched by id, each named with the prefix."""
    named = shares.add_prefix(prefix).reindex(table["id"])
    taken = [name for name in named.columns if name in table]
    if taken and not overwrite:
        raise SardinoError(f"the table has {', '.join(taken[:3])} already: choose a prefix, or ask to overwrite them")
    out = table.drop(columns=taken)
    for name in named.columns:
        out.insert(len(out.columns) - 1, name, named[name].to_numpy())
    return out
