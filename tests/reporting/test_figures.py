"""Every figure has its panels, its legend and its caption, and is written the same way twice."""

from dataclasses import replace
from pathlib import Path

import geopandas
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from sardino.data.places.splits import band_index, splits_of_bands
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, LandCoverClass, Legend
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError
from sardino.reporting.figures.curves import PANELS, draw_pretraining
from sardino.reporting.figures.pipeline import draw_pipeline
from sardino.reporting.figures.places import (
    NOTHING,
    ComparisonColumn,
    PredictionRow,
    draw_comparison,
    draw_landcover,
    draw_predictions,
    draw_splits,
)
from sardino.reporting.figures.style import preview, save_figure

SIDE, TITLE = 24, "A caption (synthetic world)"
DERIVED = Legend(
    "Clusters", (LandCoverClass(1, "Dark", "#112233"), LandCoverClass(2, "Bright", "#DDDDCC")), derived=True
)


@pytest.fixture()
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def shown_panels(figure: Figure) -> list:
    return [axes for axes in figure.axes if axes.get_visible()]


def legend_labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def smallest_type(figure: Figure) -> float:
    texts = figure.findobj(lambda artist: hasattr(artist, "get_fontsize") and bool(artist.get_text()))
    return min(text.get_fontsize() for text in texts)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_pipeline_names_both_routes() -> None:
    figure = draw_pipeline()
    words = " ".join(text.get_text() for text in figure.axes[0].texts).lower()
    for word in (
        "12 channels",
        "crop",
        "teacher",
        "student",
        "average",
        "centre",
        "softmax",
        "attention",
        "tokens",
        "u-net",
    ):
        assert word in words, word
    assert smallest_type(figure) >= 7


@pytest.mark.parametrize(("rows", "heads"), [(1, 2), (3, 12)])
def test_predictions_show_every_tile(rng: np.random.Generator, rows: int, heads: int) -> None:
    label = rng.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
    tile = PredictionRow(rng.normal(size=(12, SIDE, SIDE)), rng.random((heads, 3, 3)), label, label, label + 2)
    figure = draw_predictions([tile] * rows, CHANNELS, WORLDCOVER, 10.0, TITLE)
    shown = min(heads, 3)
    assert len(shown_panels(figure)) == rows * (shown + 4) + shown, "each head has its scale"
    assert titles(figure) == ["SAR", *(f"Head {i + 1}" for i in range(shown)), "From attention",
                              "From SAR\n+ attention", "Reference"]  # fmt: skip
    assert legend_labels(figure) == [f"{i + 1} {name}" for i, name in enumerate(WORLDCOVER.names[:5])]
    assert figure.get_suptitle() == TITLE
    assert smallest_type(figure) >= 7


def test_landcover_maps_name_unlabelled_pixels_and_derived_labels(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, (7, SIDE, SIDE)).astype(np.uint8)
    labels[0, :3] = IGNORE
    figure = draw_landcover(labels, DERIVED, 10.0, "Real chips")
    assert len(shown_panels(figure)) == 7
    assert legend_labels(figure) == ["Dark", "Bright", "No label"]
    assert figure.get_suptitle() == "Real chips (derived labels)"
    assert draw_landcover(labels, WORLDCOVER, 10.0, TITLE).get_suptitle() == TITLE
    with pytest.raises(SardinoError, match="Figure 4"):
        draw_landcover(labels[0], WORLDCOVER, 10.0, TITLE)


def test_comparison_has_the_rows_that_the_data_has(rng: np.random.Generator) -> None:
    label = rng.integers(0, 11, (SIDE, SIDE)).astype(np.uint8)
    sar, attention = rng.normal(size=(12, SIDE, SIDE)), rng.random((3, 3, 3))
    amount = rng.random((SIDE, SIDE)).astype(np.float32) * 90
    amount[0, 0] = np.nan
    optical = rng.integers(0, 255, (3, SIDE, SIDE)).astype(np.uint8)
    full = ComparisonColumn("A", sar, attention, {"optical": optical, "biomass_t_ha": amount}, label, WORLDCOVER)
    poor = ComparisonColumn("B", sar[:1], attention, {}, None, None, ("vh",))
    figure = draw_comparison([full, poor], TITLE)
    rows = [axes.get_ylabel().replace("\n", " ") for axes in figure.axes if axes.get_ylabel()]
    assert rows == ["SAR", "Head 1", "Head 2", "Head 3", "Optical", "Land cover", "Biomass (t/ha)"]
    assert titles(figure) == ["A", "B"]
    assert len(shown_panels(figure)) == 2 * len(rows) + 1 + 3, "a colour bar of the amount, and one of each head"
    missing = [text for axes in figure.axes for text in axes.texts if text.get_text() == NOTHING]
    assert len(missing) == 3
    assert {label.split(" ", 1)[1] for label in legend_labels(figure)} == set(WORLDCOVER.names)
    assert len(draw_comparison([poor], TITLE).axes) == 4 + 3
    # A layer that holds nodata alone is as good as none.
    empty = {"optical": np.zeros_like(optical), "biomass_t_ha": np.full_like(amount, np.nan)}
    filled = ComparisonColumn("C", sar, attention, empty, label, WORLDCOVER)
    figure = draw_comparison([full, filled], TITLE)
    assert sum(t.get_text() == NOTHING for axes in figure.axes for t in axes.texts) == 2
    assert len(draw_comparison([filled], TITLE).axes) == 5 + 3
    assert smallest_type(figure) >= 7


def test_each_model_has_a_colour_scale_of_its_own(rng: np.random.Generator) -> None:
    sar = rng.normal(size=(12, SIDE, SIDE))
    sharp, even = np.exp(rng.normal(0, 1, (3, 4, 4))), np.exp(rng.normal(0, 0.1, (3, 4, 4)))
    columns = [ComparisonColumn(name, sar, maps, model=name) for name, maps in (("A", sharp), ("B", even))]
    for same, words in ((False, {"least", "most"}), (True, {"1 = even"})):
        shown = [replace(column, model="") if same else column for column in columns]
        figure = draw_comparison(shown, TITLE)
        norms = [
            axes.images[0].norm for axes in figure.axes if axes.images and isinstance(axes.images[0].norm, LogNorm)
        ]
        assert (norms[0].vmax == norms[1].vmax) is same and len(norms) == 6
        said = {label.get_text() for axes in figure.axes for label in axes.get_yticklabels()}
        assert words <= said and (same or not any("even" in each for each in said))


def test_a_supplement_shows_every_head_rollout_and_tokens(rng: np.random.Generator) -> None:
    label = rng.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
    sar, attention = rng.normal(size=(12, SIDE, SIDE)), rng.random((12, 3, 3))
    column = ComparisonColumn("A", sar, attention, rollout=attention[0], tokens=rng.random((3, 3, 3)), placed=False)
    figure = draw_comparison([column], TITLE, heads=None)
    rows = [axes.get_ylabel().replace("\n", " ") for axes in figure.axes if axes.get_ylabel()]
    assert rows == ["SAR", *(f"Head {i + 1}" for i in range(12)), "Attention rollout", "Tokens (PCA)"]
    assert smallest_type(figure) >= 7
    rows = [axes.get_ylabel() for axes in draw_comparison([column.without_tokens()], TITLE).axes if axes.get_ylabel()]
    assert rows == ["SAR", "Head 1", "Head 2", "Head 3"]
    tile = PredictionRow(sar, attention, label, label, label)
    figure = draw_predictions([tile], CHANNELS, WORLDCOVER, 10.0, TITLE, heads=None)
    assert sum(title.startswith("Head") for title in titles(figure)) == 12
    assert smallest_type(figure) >= 7


def test_real_layers_have_limits_of_their_own(rng: np.random.Generator) -> None:
    layers = {"ndvi": rng.random((SIDE, SIDE)) - 0.1, "elevation_m": 100 + 40 * rng.random((SIDE, SIDE))}
    column = ComparisonColumn(
        "A", rng.normal(size=(2, SIDE, SIDE)), rng.random((1, 3, 3)), layers, channels=("vv", "vh")
    )
    figure = draw_comparison([column], TITLE)
    limits = {axes.get_ylabel(): axes.images[0].get_clim() for axes in figure.axes if axes.images and axes.get_ylabel()}
    assert limits["NDVI"] == (0, 1)
    assert 100 <= limits["Elevation\n(m)"][0] < limits["Elevation\n(m)"][1] <= 140


@pytest.fixture()
def index() -> pd.DataFrame:
    tiles = [Tile("europe", "EPSG:32631", (10, 0, 448000 + 960 * i, 0, -10, 5376000 - 960 * j), (96, 96))
             for i in range(10) for j in range(6)]  # fmt: skip
    centres = np.array([tile.centre for tile in tiles])
    split = splits_of_bands(band_index(centres[:, 0], centres[:, 1], 10, 0.0))
    columns = {"region": [tile.region for tile in tiles], "crs": [tile.crs for tile in tiles], "split": split}
    outlines = [tile.footprint_in("EPSG:4326") for tile in tiles]
    return geopandas.GeoDataFrame(columns, geometry=outlines, crs="EPSG:4326")


def test_split_map_draws_each_tile_in_kilometres(index: pd.DataFrame) -> None:
    empty = index[:1].assign(split="none")  # a tile without a valid pixel
    figure = draw_splits(pd.concat([index, empty]), TITLE)
    (axes,) = figure.axes
    outlines = axes.collections[0].get_paths()
    assert len(outlines) == len(index) == 60
    extent = np.concatenate([outline.vertices for outline in outlines])
    assert np.ptp(extent, axis=0) == pytest.approx([9.6, 5.76], abs=0.01)
    colours = {tuple(colour) for colour in axes.collections[0].get_facecolor()}
    assert len(colours) == 3
    assert "60 tiles\ntrain 36, val 12, test 12" in axes.get_title()
    assert legend_labels(figure) == ["Training", "Validation", "Test"]


def test_split_map_without_coordinates_still_counts(index: pd.DataFrame) -> None:
    figure = draw_splits(pd.concat([index, index.assign(region="nowhere", crs="")]), TITLE)
    assert len(figure.axes) == 2
    assert "Nowhere: 60 tiles" in figure.axes[1].get_title()
    assert figure.axes[1].texts[0].get_text() == "tiles without coordinates"


def pretraining(arm: str, prototypes: int) -> dict:
    curves: dict = {name: [2.0, 1.0, 0.5] for name in PANELS if name != "explained"}
    curves |= {"step": [0, 10, 20], "ln_k": float(np.log(prototypes))}
    return {"kind": "pretrain", "data": {"synthetic": True}, "results": {"arm": arm, "steps": 21, "curves": curves}}


def test_curves_show_each_arm_and_ln_k() -> None:
    figure = draw_pretraining([pretraining("europe", 64), pretraining("all", 4096), {"kind": "data"}])
    assert [len(axes.lines) for axes in figure.axes[:9]] == [4, 4, 4, 2, 2, 2, 2, 2, 2]  # no probe, no panel
    notes = [text.get_text() for text in figure.axes[0].texts]
    assert notes == ["ln K = 4.16", "ln K = 8.32"]
    assert [text.get_text() for text in figure.axes[9].get_legend().get_texts()] == [
        "europe (21 steps)",
        "all (21 steps)",
    ]
    assert "synthetic world" in figure.get_suptitle()
    with pytest.raises(SardinoError, match="02"):
        draw_pretraining([{"kind": "data"}])


def test_curves_of_masked_modelling_beside_those_of_dino() -> None:
    told = {name: [0.3, 0.2, 0.1] for name in ("loss", "explained", "feature_std", "effective_rank")}
    masked = pretraining("filtered", 64)
    masked["results"]["curves"] = told | {"step": [0, 10, 20], "ln_k": None}
    figure = draw_pretraining([masked])
    assert len([axes for axes in figure.axes if axes.lines]) == 4 and not figure.axes[0].texts
    both = draw_pretraining([pretraining("europe", 64), masked]).axes
    assert [text.get_text() for text in both[0].texts] == ["ln K = 4.16"] and "error" in both[0].get_ylabel()


def test_curves_of_an_older_record_and_with_gaps_and_probes() -> None:
    old, new = pretraining("europe", 64), pretraining("all", 64)
    kept = ("step", "ln_k", "loss", "teacher_entropy", "kl", "feature_std", "distance", "learning_rate")
    old["results"]["curves"] = {name: old["results"]["curves"][name] for name in kept}
    assert len([axes for axes in draw_pretraining([old]).axes if axes.lines]) == 6
    new["results"]["curves"] |= {"gradient_norm": [1.0, None, 3.0]}
    new["results"]["curves"]["probes"] = {"step": [10, 20], "knn": [0.1, None], "linear": [0.2, 0.3]}
    figure = draw_pretraining([old, new])
    titles = [axes.get_ylabel() for axes in figure.axes if axes.lines]
    assert len(titles) == 10 and "Probe" in titles[-1]
    assert len(figure.axes[9].lines) == 2
    np.testing.assert_array_equal(figure.axes[9].lines[1].get_ydata(), [0.1, np.nan])


def test_saving_twice_gives_the_same_bytes_and_no_partial_file(tmp_path: Path, index: pd.DataFrame) -> None:
    first, second = (save_figure(draw_splits(index, TITLE), tmp_path / name, "fig3") for name in ("a", "b"))
    assert [path.name for path in first] == ["fig3.png", "fig3.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[1].read_bytes().startswith(b"%PDF")
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_preview_is_a_png_and_settings_stay_the_callers(index: pd.DataFrame) -> None:
    before = mpl.rcParams["font.size"]
    shown = preview(draw_splits(index, TITLE), dpi=30)
    assert shown._repr_png_().startswith(b"\x89PNG") and len(repr(shown)) < 20, "the bytes stand in a notebook once"
    assert mpl.rcParams["font.size"] == before
