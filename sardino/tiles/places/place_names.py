"""Areas of interest by name: countries, continents, UN and World Bank regions, and the paper's areas."""

import difflib
import unicodedata
from functools import cache
from importlib import resources
from typing import Any

import geopandas
import shapely

from sardino.errors import SardinoError

PAPER_AREAS: dict[str, tuple[tuple[str, ...], tuple[float, float, float, float]]] = {
    "europe": (("continent:europe",), (-25.0, 34.0, 45.0, 72.0)),
    "conus": (("country:united states of america",), (-125.0, 24.0, -66.0, 50.0)),
    "china": (("country:china",), (73.0, 18.0, 135.5, 54.0)),
    "middle east": (("un_subregion:western asia", "country:iran", "country:egypt"), (24.0, 12.0, 64.0, 43.0)),
    "pakistan and india": (("country:pakistan", "country:india"), (60.0, 6.0, 98.0, 38.0)),
}
"""Areas named as in the paper and in M3LEO: places, cut at (west, south, east, north).

The outlines are ours, not the authors'; that M3LEO's "pakin" is Pakistan and India is read from its name. Europe is cut
at 45 degrees east, beyond which only Russia lies, and at 25 west, in the Azores; "continent:europe" is all of it.
"""
KINDS = ("paper", "country", "code", "continent", "un_region", "un_subregion", "world_bank_region")
"""What a name may mean, in order of preference; "continent:asia" asks for one meaning."""
_SHORT = {
    "usa": "country:united states of america",
    "us": "country:united states of america",
    "uk": "country:united kingdom",
    "serbia": "country:republic of serbia",
    "tanzania": "country:united republic of tanzania",
    "bahamas": "country:the bahamas",
    "cote d'ivoire": "country:ivory coast",
    "czech republic": "country:czechia",
    "drc": "country:democratic republic of the congo",
    "pakin": "paper:pakistan and india",
    "southamerica": "continent:south america",
    "middleeast": "paper:middle east",
}


def plain(name: str) -> str:
    """A name without case, accents, hyphens and doubled spaces: "South-Eastern Asia" is "south eastern asia"."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return " ".join(ascii_only.lower().replace("-", " ").replace("_", " ").split())


def place_names(search: str = "") -> list[tuple[str, str]]:
    """(kind, name) of all known places whose name contains the search text, in the order of KINDS."""
    found = [("paper", name) for name in PAPER_AREAS]
    table = _countries()
    for kind in KINDS[1:]:
        found += [(kind, name) for name in sorted(set(table[kind]))]
    return [(kind, name) for kind, name in found if plain(search) in plain(name)]


def named_area(name: str) -> Any:
    """The outline of a named place, in EPSG:4326; "france in europe" is what two places share.

    Raises:
        SardinoError: no place has this name; close names are suggested.
    """
    place, inside, whole = name.partition(" in ")
    if inside:
        shared = shapely.intersection(named_area(place), named_area(whole))
        if shared.is_empty:
            raise SardinoError(f"nothing of '{place}' lies in '{whole}'")
        return shared
    asked = _SHORT.get(plain(name), name)
    kind, colon, rest = asked.partition(":")
    if not colon:
        kind, rest = "", asked
    elif plain(kind).replace(" ", "_") not in KINDS:
        raise SardinoError(f"there are no places of kind '{kind}': use {', '.join(KINDS)}")
    wanted = plain(rest)
    kinds = [plain(kind).replace(" ", "_")] if kind else KINDS
    if "paper" in kinds and wanted in PAPER_AREAS:
        parts, bounds = PAPER_AREAS[wanted]
        united = shapely.union_all([named_area(part) for part in parts])
        return shapely.intersection(united, shapely.box(*bounds))
    table = _countries()
    for column in kinds:
        if column == "paper":
            continue
        rows = table[[plain(value) == wanted for value in table[column]]]
        if len(rows):
            return shapely.make_valid(shapely.union_all(rows.geometry.to_numpy()))
    known = {plain(known): known for _, known in place_names()} | {short: short for short in _SHORT}
    close = difflib.get_close_matches(wanted, known, 3, 0.6) or [n for n in known if wanted and wanted in n][:3]
    hint = f"did you mean {', '.join(known[n] for n in close)}?" if close else "`sardino tiles aois` lists the names"
    raise SardinoError(f"there is no place '{name}', nor a file of that name: {hint}")


@cache
def _countries() -> geopandas.GeoDataFrame:
    source = resources.files("sardino.tiles") / "places" / "countries.parquet"
    with resources.as_file(source) as path:
        if not path.is_file():
            raise SardinoError("sardino was installed without its country outlines: install it again")
        return geopandas.read_parquet(path)
