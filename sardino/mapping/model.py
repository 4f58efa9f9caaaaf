"""The model of a map, and a scene as its input: what does not fit is refused with the command that converts it."""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from timm.models.vision_transformer import VisionTransformer

from sardino.data.places.utm import nominal_m
from sardino.data.rasters.doubts import Doubt, doubts_of, polarisation, sampled
from sardino.data.rasters.metric_grid import Read, metric_grid
from sardino.data.rasters.place import pixel_size_m
from sardino.data.rasters.scene import Scene
from sardino.data.rasters.warp import Grid, Kind
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import difference_of, to_db
from sardino.dino.recipe import Network
from sardino.errors import SardinoError
from sardino.files import sha256_of
from sardino.mapping.job import Unit
from sardino.segmentation.segmenter import Segmenter
from sardino.weights.card import TOLERANCE, Card, SegmenterCard
from sardino.weights.save import SEGMENTER_WEIGHTS, load_backbone, load_segmenter

Part = Literal["backbone", "segmenter"]
PRETRAINED = Path(__file__).parents[1] / "pretrained"
WARPED_AS: dict[str, Kind] = {"db": "db", "linear": "values", "amplitude": "amplitude"}
"""What pixels of a unit are to the one who warps them."""
QUANTITIES = ("gamma0", "sigma0", "beta0")


@dataclass(frozen=True)
class MapModel:
    """A network in evaluation mode on the CPU, its card, and the hash of its weights' file."""

    folder: Path
    network: VisionTransformer | Segmenter
    card: Card | SegmenterCard
    sha256: str

    @property
    def normalisation(self) -> Normalisation:
        return Normalisation.from_dict(self.card.normalisation)

    @property
    def step_px(self) -> int:
        """Pixels by which windows may be shifted so that patches, and levels of a U-Net, fall on the same pixels."""
        shape = self.card.architecture
        if not isinstance(self.card, SegmenterCard) or self.card.encoding == "tokens":
            return shape.patch
        levels: int = 2 ** self.card.decoder["unet_depth"]
        step = levels if self.card.encoding == "unet" else math.lcm(levels, shape.patch)
        return step if shape.tile_px % step == 0 else shape.patch


def default_model(kind: Part, channels: Collection[str] = ()) -> Path:
    """Folder of the model that comes with the package; refused where this copy of the package has none.

    It takes VV and VH of one date where `channels`, of the data, has them without a season; else twelve of the year.
    """
    folder = PRETRAINED / f"{'one-date' if {'vv', 'vh'} <= {name.lower() for name in channels} else 'world'}-{kind}"
    if not folder.is_dir():
        verb = "pretrain" if kind == "backbone" else "finetune"
        made = f"`sardino {verb}` and `sardino reproduce` make one"
        raise SardinoError(
            f"this copy of sardino holds no {folder.name} of its own: {made}, give it with --model FOLDER"
        )
    return folder


def load_vit(folder: Path, network: Network = "teacher") -> MapModel:
    """A ViT for attention: the backbone in a folder, or the one inside a segmenter.

    Raises:
        SardinoError: neither is there, it is damaged, or the segmenter has no ViT.
    """
    if (folder / SegmenterCard.FILE).is_file():
        model = load_landcover(folder)
        vit = model.network.vit if isinstance(model.network, Segmenter) else None
        if vit is None:
            raise SardinoError(f"the segmenter in {folder} is a plain U-Net without attention: give a backbone")
        return replace(model, network=vit.eval())
    if not (folder / Card.FILE).is_file():
        missing = f"({Card.FILE} or {SegmenterCard.FILE} is missing)"
        raise SardinoError(f"{folder} holds no model {missing}: give one that does")
    card, _ = Card.read(folder)
    vit, card = load_backbone(folder, card.channels, card.unit, network)
    return MapModel(folder, vit.eval(), card, sha256_of(folder / f"{network}.safetensors"))


def load_landcover(folder: Path) -> MapModel:
    """A segmenter; refused where none is there, or it is damaged."""
    if (folder / Card.FILE).is_file() and not (folder / SegmenterCard.FILE).is_file():
        raise SardinoError(f"{folder} holds a backbone, which tells no classes: give a segmenter, or `sardino attend`")
    network, card = load_segmenter(folder)
    return MapModel(folder, network, card, sha256_of(folder / SEGMENTER_WEIGHTS))


@dataclass(frozen=True)
class ModelScene:
    """A scene whose bands are a model's channels; doubts are sentences on what could not be checked or may matter."""

    scene: Scene
    bands: tuple[int, ...]  # numbers of the bands to read, from 0
    made_of: tuple[tuple[int, ...], ...]  # a channel's place in `bands`; of a difference of decibels, its two places
    unit: Unit
    doubts: tuple[str, ...]

    @contextmanager
    def reading(self, threads: int = 1) -> Iterator[Read]:
        """Read windows as the model's channels in dB, float32 with NaN; power of 0 or less is missing."""
        with self.scene.reading(self.bands, threads) as read:

            def channels(*window: int) -> NDArray[np.float32]:
                db = read(*window)
                if self.unit != "db":
                    db = to_db(db if self.unit == "linear" else np.where(db > 0, db, np.nan) ** 2)
                if self.made_of == tuple((number,) for number in range(len(db))):
                    return db
                return np.stack([db[a] - db[b[0]] if b else db[a] for a, *b in self.made_of])

            yield channels


def match_scene(
    scene: Scene, model: MapModel, channels: Sequence[str] = (), unit: Unit | None = None, warp: bool = False
) -> ModelScene:
    """A scene as a model's input.

    Names of bands are read without regard to case. A channel such as winter_vv-vh that the scene lacks is the
    difference of winter_vv and winter_vh in decibels.

    Args:
        channels: names of the scene's bands in its order, where it has none or others.
        unit: where the file does not say.
        warp: to a metric grid of the model's pixel size, where the scene has another.

    Raises:
        SardinoError: other channels, another unit or another grid, with the command that converts it.
    """
    path, stated, wanted = scene.path, tuple(channels) or scene.names, [name.lower() for name in model.card.channels]
    names = [name.lower() for name in stated]
    if channels and len(channels) != len(scene.names):
        told = f"{path} has {len(scene.names)} bands, and --channels names {len(channels)} ({','.join(channels)})"
        raise SardinoError(f"{told}: name them all at once, in the file's order, as in vv,vh")
    if channels and not _agree(scene.names, channels):
        told = f"{path} names its bands {', '.join(scene.names)}, and --channels says {','.join(channels)}"
        raise SardinoError(f"{told}: give them in the file's order")
    if model.card.unit != "dB":
        raise SardinoError(f"{model.folder} was trained on backscatter in {model.card.unit}: only dB can be mapped")
    if not any(names):
        raise SardinoError(
            f"{path} does not name its {len(names)} bands and the model takes {len(wanted)} channels: say what they "
            f"are, in the file's order, for example --channels {','.join(wanted)}"
        )
    found = {name: number for number, name in enumerate(names) if name}
    if twice := sorted({name for name in found if names.count(name) > 1} & set(wanted)):
        raise SardinoError(f"{path} has more than one band {', '.join(twice)}: name its bands with --channels")
    parts = [(channel,) if channel in found else difference_of(channel, found) for channel in wanted]
    if missing := [channel for channel, part in zip(wanted, parts, strict=True) if not part]:
        raise SardinoError(
            f"{path} has the bands {', '.join(name or '(no name)' for name in stated)}, and the model needs "
            f"{', '.join(missing)} too: add them (gdal_merge.py -separate), use a model of these channels, or, where "
            f"only the names differ, give names to the bands in the file's order with --channels"
        )
    bands = list(dict.fromkeys(found[name] for part in parts for name in part))
    measure = _unit(scene, bands, unit)
    scene = _on_model_grid(scene, model, WARPED_AS[measure] if warp else None)
    doubts = _doubts(scene, model)
    made_of = tuple(tuple(bands.index(found[name]) for name in part) for part in parts)
    with scene.reading(bands, 1) as read:
        sample = sampled(lambda part: read(part[0].start, part[0].stop, part[1].start, part[1].stop), scene.shape)
    doubts += [f"{path} {doubt.said}: {_remedy(doubt, scene)}" for doubt in doubts_of(sample, measure)]
    return ModelScene(scene, tuple(bands), made_of, measure, tuple(doubts))


def _unit(scene: Scene, bands: Sequence[int], given: Unit | None) -> Unit:
    """What these bands are in: as the file states, or where that is no unit of backscatter, as is given."""
    own = sorted({scene.units[number] for number in bands} - {""})
    known = [unit for unit in own if unit in get_args(Unit)]
    if len(own) > 1 and known:
        raise SardinoError(f"{scene.path} says that its bands are in {' and '.join(own)}: bring them to one unit first")
    if known and given and given != known[0]:
        raise SardinoError(f"{scene.path} says that it is in {known[0]}, not {given}: leave --unit out")
    if not known and not given:
        fault = f"is in '{' and '.join(own)}'" if own else "does not say its unit"
        remedy = "say --unit db, or --unit linear (power) or amplitude, which become decibels"
        raise SardinoError(f"{scene.path} {fault}: {remedy}")
    return given or cast(Unit, known[0])


def _agree(names: Sequence[str], channels: Sequence[str]) -> bool:
    """Whether no band's own name tells another polarisation than the one that it is given."""
    pairs = zip(map(polarisation, names), map(polarisation, channels), strict=True)
    return all(not own or not given or own == given for own, given in pairs)


def _remedy(doubt: Doubt, scene: Scene) -> str:
    if doubt.remedy == "nodata":
        return f"if that means missing, declare it, rio edit-info --nodata {doubt.value:g} {scene.path}"
    if doubt.remedy == "scale":
        return "hundredths of a decibel need their scale in the file, gdal_translate -a_scale 0.01"
    return "correct the unit that the file states" if any(scene.units) else "correct --unit"


def _doubts(scene: Scene, model: MapModel) -> list[str]:
    """Of the pixel size, where the model's is not known or is not the scene's own, and of the product."""
    doubts, own = list(scene.doubts), scene.warped_from
    if model.card.gsd_m is None:
        doubts.append(f"{model.folder} does not say of what pixel size it was trained: results may be meaningless")
    elif own and not _of_size(own[0], model.card.gsd_m):
        width, height = map(nominal_m, pixel_size_m(own[0].crs, own[0].transform, own[0].shape))
        warped = f"is warped from pixels of {width:.3g} m by {height:.3g} m to {nominal_m(model.card.gsd_m):.3g} m"
        doubts.append(f"{scene.path} {warped}: its speckle is not that of what the model was trained on")
    product = str(model.card.trained_on.get("product") or model.card.trained_on.get("source") or "")
    theirs, ours = ({name for name in QUANTITIES if name in text.lower()} for text in (scene.product, product))
    if theirs and ours and not theirs & ours:
        doubts.append(
            f"{scene.path} holds {', '.join(theirs)} and the model was trained on {', '.join(ours)}: slopes differ by "
            "decibels, so trust flat land only"
        )
    return doubts


def _of_size(grid: Grid, gsd_m: float) -> bool:
    """Whether pixels are on the ground as large as those that a model has seen."""
    return all(abs(side / gsd_m - 1) <= TOLERANCE for side in pixel_size_m(grid.crs, grid.transform, grid.shape))


def _on_model_grid(scene: Scene, model: MapModel, kind: Kind | None) -> Scene:
    """The scene if its grid is north-up and of the model's pixel size, else warped as pixels of a kind, or refused."""
    own, gsd = scene.grid, model.card.gsd_m
    if own.straight and (gsd is None or _of_size(own, gsd)) and not (kind and gsd and CRS(own.crs).is_geographic):
        return scene
    width, height = pixel_size_m(own.crs, own.transform, own.shape)
    grid = metric_grid(own, gsd or max(width, height), scene.path)
    if kind and gsd:
        return scene.on(grid, kind)
    fault = "is placed by ground control points alone" if own.gcps else "lies on a rotated grid"
    if own.straight and gsd:
        size = f"has pixels of {nominal_m(width):.3g} m by {nominal_m(height):.3g} m on the ground"
        fault = f"{size}, and the model was trained on {nominal_m(gsd):.3g} m"
    method = "average" if gsd and max(width, height) < gsd else "bilinear"
    target, step = grid.crs if len(grid.crs) < 20 else "the CRS it has", f"{grid.transform[0]:.3g}"
    raise SardinoError(
        f"{scene.path} {fault}: {'say --warp, or ' if gsd else ''}warp it first, as linear power and not as decibels, "
        f"with gdalwarp -t_srs {target} -tr {step} {step} -r {method} {scene.path} warped.tif"
    )
