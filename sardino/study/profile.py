"""Profiles: what to run, at which size, on which data; one typed TOML file each."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from sardino.data.tiles.landcover import label_fraction
from sardino.dino.recipe import Network, Training, ViTSize, find_recipe
from sardino.errors import SardinoError
from sardino.files import read_toml
from sardino.options import Count, Options, sentence
from sardino.reporting.rows import HYBRID, SELF_TRAINED, WIDE
from sardino.segmentation.settings import GRID, EncodingName, Settings
from sardino.study.factors import Factorial

FOLDER = Path(__file__).parent / "profiles"  # the built-in ones, one <name>.toml each

Percent = Annotated[float, Field(gt=0, le=100)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]  # names end up in file names
NotNegative = Annotated[float, Field(ge=0)]
Natural = Annotated[int, Field(ge=0)]
PerRegion = Annotated[dict[str, Natural], Field(default_factory=dict)]  # a region that is not named takes all


def _told_with_its_place(value: Any, size: ValidatorFunctionWrapHandler) -> Any:
    try:
        return size(value)
    except SardinoError as error:
        raise ValueError(error) from None


class DataSource(Options):
    """Where tiles come from and how they are split (paper, section 2 and Figure 3)."""

    source: Literal["world", "folder", "store"]
    tile_px: Count
    bands: Annotated[int, Field(ge=5)]
    band_angle_deg: float
    seed: int = 0
    regions: dict[str, tuple[Count, Count]] = Field(default_factory=dict)  # of the world: columns and rows of tiles
    folders: list[str] = Field(default_factory=list)  # folder specifications of real input, or regions of a store
    max_tiles_per_chip: Count | None = None  # of a folder
    warp: bool = False  # chips of a folder to UTM, and their labels to the chip's grid
    composite: Literal["mean", "median"] = "mean"  # of the world's dates
    # Tiles of a region that get pixels; the others are only listed, and count where a fraction is taken of them.
    pool: PerRegion  # training tiles for pre-training, besides those whose labels are used
    validation: PerRegion
    test: PerRegion  # at least so many, in whole bands spread evenly over the region's test bands
    buffer_m: NotNegative = 0.0  # the world's tiles nearer to another split are left out; the paper leaves out none
    cache: Literal["auto", "memory", "none"] = "auto"  # of pre-training; see sardino.dino.batches.open_tiles
    loader_workers: Natural = 0  # processes that read ahead

    def wanted(self, region: str) -> dict[str, int | None]:
        """`pool`, `validation` and `test` of a region; None is all."""
        return {"pool": self.pool.get(region), "validation": self.validation.get(region), "test": self.test.get(region)}

    @property
    def makes_all(self) -> bool:
        """Whether every tile that is listed gets pixels."""
        return not (self.pool or self.validation or self.test)


class Pretraining(Training):
    """One self-supervised pre-training: its options, and what it is trained on."""

    title: str
    architecture: str
    regions: Annotated[list[str], Field(min_length=1)]
    recipe: str  # a name of sardino.dino.recipe.RECIPES
    overrides: dict[str, float | int | bool | list[float]] = Field(default_factory=dict)  # fields of the recipe
    store: str = "store"
    finetune: bool = True
    # Rows that are fine-tuned from it: column groups of Table 1, and of Table 2 the U-Net that sees its tokens.
    encodings: list[Literal["attention", "tokens", "hybrid"]] = Field(["attention", "tokens"], min_length=1)
    network: Network = "student"  # used afterwards, as in the paper (section 2); DINO takes the teacher
    adopted: str = ""  # folder of `sardino adopt`, from the project's: nothing is trained, its weights are the arm's

    @model_validator(mode="before")
    @classmethod
    def _not_trained_here(cls, given: Any) -> Any:
        if not (isinstance(given, dict) and given.get("adopted")):
            return given
        own = {"title", "architecture", "regions", "store", "finetune", "encodings", "adopted"}
        if idle := sorted(given.keys() - own):
            raise ValueError(f"weights that are adopted are not trained here: leave out {', '.join(idle)}")
        title = f"{given.get('title', '')} (pre-trained elsewhere)"
        return {**given, "title": title, "recipe": "small", "steps": 1, "batch": 2, "network": "teacher"}


def _usual_grid(known: dict[str, Any]) -> list[float]:
    """Of a recipe's rate; none where that is refused."""
    return [known["lr"] * times for times in GRID if "lr" in known]


class Finetuning(Settings):
    """Supervised training of every cell of Tables 1 and 2: its options, the decoders, and how rates are chosen.

    Each arm tries the rates of `lr_grid` (by default those of GRID) with the first seed, `lr_fraction` percent of the
    labels (the middle one of the profile's, if not given) and `grid_share` of the steps, and takes one for all
    fractions and seeds (see sardino.study.supervision.RateSearch); the ratios of the rates stay. With an empty grid the
    rates are as given.
    """

    unet_width: Annotated[Count, "Channels of a U-Net at full size; they double at each level down."] = 16
    unet_depth: Annotated[Count, "Levels of a U-Net below the first."] = 3
    # A token decoder about as large as the U-Net.
    decoder_width: Annotated[Count, "Channels of a token decoder's first block; they halve block by block."] = 192
    validation_tiles: Annotated[Count, "Tiles of the validation split that are looked at, at most."] = 48
    lr_grid: list[Annotated[float, Field(gt=0)]] = Field(default_factory=_usual_grid)
    lr_fraction: Percent | None = None
    grid_share: Annotated[float, Field(gt=0, le=1), "Share of the steps in which a learning rate is tried."] = 0.3
    # For each backbone and encoding.
    feature_cache_gb: Annotated[NotNegative, "Most disk for what a frozen backbone makes of tiles, meanwhile."] = 20.0

    def of(self, encoding: EncodingName) -> Self:
        """As an arm takes them: its decoder's rate is `lr`, and the rates to try are its own."""
        made = super().of(encoding)
        return made.changed(lr_grid=[rate * made.lr / self.lr for rate in self.lr_grid])

    @property
    def decoder(self) -> dict[str, int]:
        """The decoders' sizes, as `build_segmenter` takes them."""
        return {name: getattr(self, name) for name in ("unet_width", "unet_depth", "decoder_width")}


class Profile(Options):
    """All that a reproduction needs to know besides the code."""

    name: Name
    title: str
    synthetic: bool
    hardware: str  # what the expected time was measured on; both are shown, never used in a result
    expected_minutes: Annotated[float, Field(gt=0)]
    seeds: Annotated[list[Natural], Field(min_length=1)]  # of trainings; each has pre-trainings of its own
    fractions: Annotated[list[Percent], Field(min_length=1)]  # percent of the training tiles whose labels are used
    draws: list[Count] = Field(default_factory=list)  # of the labelled tiles: for each fraction, or one for all
    examples: Count  # tiles shown in figures
    keep: bool = False  # what takes hours is kept in results/<profile>/kept/, for machines that begin bare
    threads: Count = 1  # CPU threads of one run; as many runs go side by side as the cores allow
    data: DataSource
    architectures: dict[str, Annotated[ViTSize, WrapValidator(_told_with_its_place)]]
    pretraining: dict[Name, Pretraining]
    finetuning: Finetuning
    wide_unet_width: Count | None = None  # of one plain U-Net more, in Table 2: as large, say, as that with tokens
    self_trained: dict[EncodingName, Count] = Field(default_factory=dict)  # rows of Table 2 more: `unlabelled`
    autopsy: Factorial | None = None  # of the first arm: see sardino.study.autopsy

    @model_validator(mode="before")
    @classmethod
    def _draws_of_each_fraction(cls, given: Any) -> Any:
        draws, fractions = given.get("draws", 1), given.get("fractions")
        alike = isinstance(draws, int) and isinstance(fractions, list)
        return {**given, "draws": [draws] * len(fractions)} if alike else given

    @model_validator(mode="after")
    def _consistent(self) -> "Profile":
        sources = list(self.data.regions) if self.data.source == "world" else self.data.folders
        if not sources:
            raise ValueError(f"data: source '{self.data.source}' needs at least one of its regions or folders")
        if self.data.source != "store" and self.synthetic != (self.data.source == "world"):
            raise ValueError("synthetic: is true exactly where the data source is the synthetic world")
        if unknown := sorted({*self.data.pool, *self.data.validation, *self.data.test} - set(sources)):
            raise ValueError(f"data: {', '.join(unknown)} not among the data's {', '.join(sources)}")
        tuning = self.finetuning
        if any(len(set(values)) < len(values) for values in (self.seeds, self.fractions, tuning.lr_grid)):
            raise ValueError("seeds, fractions and finetuning.lr_grid must not repeat")
        if len(self.draws) != len(self.fractions):
            raise ValueError(f"draws: {len(self.draws)} numbers for {len(self.fractions)} fractions: give one for each")
        if tuning.lr_fraction is not None and tuning.lr_fraction not in self.fractions:
            raise ValueError(f"finetuning.lr_fraction: {tuning.lr_fraction:g} is not among the profile's fractions")
        if self.autopsy and self.autopsy.percent not in self.fractions:
            raise ValueError(f"autopsy.percent: {self.autopsy.percent:g} is not among the profile's fractions")
        for name, shape in self.architectures.items():
            if shape.patch & (shape.patch - 1) or self.data.tile_px % shape.patch:
                px = self.data.tile_px
                raise ValueError(f"architectures.{name}: patch {shape.patch} is no power of two that divides {px} px")
        for arm, pretraining in self.pretraining.items():
            if re.search(r"-seed\d+$", arm):
                raise ValueError(f"pretraining.{arm}: a name that ends like that is a further seed's, choose another")
            if pretraining.architecture not in self.architectures:
                raise ValueError(f"pretraining.{arm}: no architecture is named '{pretraining.architecture}'")
            if unknown := sorted(set(pretraining.regions) - set(sources)):
                raise ValueError(f"pretraining.{arm}: {', '.join(unknown)} not among the data's {', '.join(sources)}")
            try:
                recipe = find_recipe(pretraining.recipe, **pretraining.overrides)
            except SardinoError as error:
                raise ValueError(f"pretraining.{arm}: {error}") from None
            sizes = (recipe.unet_width, recipe.unet_depth), (tuning.unet_width, tuning.unet_depth)
            if recipe.objective == "dense" and HYBRID in pretraining.encodings and sizes[0] != sizes[1]:
                told = "unet_width and unet_depth are {}, {} and in finetuning, which starts there, {}, {}"
                raise ValueError(f"pretraining.{arm}: {told.format(*sizes[0], *sizes[1])}")
        if tuning.unlabelled:
            raise ValueError(
                "finetuning.unlabelled: rows that learn from tiles without labels are named in self_trained"
            )
        if others := ", ".join(self.self_trained.keys() - {"unet", HYBRID}):
            raise ValueError(f"self_trained: is of unet and hybrid, not of {others}")
        if HYBRID in self.self_trained and not any(HYBRID in self.arm(arm).encodings for arm in self.arms):
            raise ValueError("self_trained.hybrid: no arm of [pretraining] has the encoding hybrid")
        if not self.arms:
            raise ValueError("pretraining: needs at least one arm that is fine-tuned")
        # Table 2 reads the first arm; where the paper has Europe, the first that is not "all" stands.
        leading = [self.arms[0], *[arm for arm in self.arms if arm != "all"][:1]]
        if adopted := [arm for arm in leading if self.arm(arm).adopted]:
            raise ValueError(f"pretraining.{adopted[0]}: adopted arms come after one that is trained here")
        if len(hybrid := [arm for arm in self.arms if HYBRID in self.arm(arm).encodings]) > 1:
            raise ValueError(
                f"pretraining: encoding hybrid has one row group in Table 2, not one of {' and '.join(hybrid)}"
            )
        return self

    @property
    def arms(self) -> list[str]:
        """The pre-training arms that are fine-tuned, the rows of Table 1; baselines use the first."""
        return [arm for arm, pretraining in self.pretraining.items() if pretraining.finetune]

    def repetitions(self, fraction: float) -> list[tuple[int, int]]:
        """(draw, seed) of each training of a cell with this percentage of the labels.

        The draw decides which tiles are labelled, for all arms alike; the seed decides the training's chance, and from
        which pre-training it starts.
        """
        draws, seeds = dict(zip(self.fractions, self.draws, strict=True))[fraction], self.seeds
        return [(number % draws, seeds[number % len(seeds)]) for number in range(max(draws, len(seeds)))]

    def labelled(self, train_ids: Sequence[str]) -> set[str]:
        """Of the training tiles of `labelled_region`, those whose labels are granted in any draw at any fraction."""
        drawn = {(share, draw) for share in self.fractions for draw, _ in self.repetitions(share)}
        return {tile for share, draw in drawn for tile in label_fraction(train_ids, share, draw)}

    @property
    def labelled_region(self) -> str:
        """Where all arms are fine-tuned and tested: Europe, in the paper, for both tables."""
        return self.arm(self.arms[0]).regions[0]

    @property
    def rate_fraction(self) -> float:
        """Percent of the labels with which learning rates are tried."""
        return self.finetuning.lr_fraction or sorted(self.fractions)[len(self.fractions) // 2]

    def row(self, encoding: str, initialisation: str) -> tuple[EncodingName, Finetuning]:
        """A row's network and training; the wide U-Net differs from the plain one in its width alone.

        One that is self-trained takes the rates as they are given.
        """
        if encoding == WIDE:
            return "unet", self.finetuning.changed(unet_width=self.wide_unet_width)
        network = cast(EncodingName, encoding)
        tuning = self.finetuning.of(network)
        if initialisation == SELF_TRAINED:
            return network, tuning.changed(unlabelled=self.self_trained[network], lr_grid=[])
        return network, tuning

    def pretrained(self, arm: str, seed: int | None = None) -> str:
        """Name of an arm's pre-training: the arm's own with the first seed, which is meant by None."""
        return arm if seed in (None, self.seeds[0]) else f"{arm}-seed{seed}"

    def arm(self, name: str) -> Pretraining:
        """A pre-training arm; an unknown name is refused."""
        if name not in self.pretraining:
            raise SardinoError(f"profile '{self.name}' has no arm '{name}'; it has {', '.join(self.pretraining)}")
        return self.pretraining[name]

    def architecture(self, arm: str) -> ViTSize:
        """The size of the ViT of a pre-training arm."""
        return self.architectures[self.arm(arm).architecture]

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Profile":
        """A built-in profile by name, or any TOML file by path.

        Raises SardinoError: no such profile, not TOML, or a key that is unknown, missing or out of range.
        """
        path = locate(name_or_path)
        try:
            return cls.model_validate(read_toml(path))
        except ValidationError as error:
            raise SardinoError(f"profile {path.name}: {sentence(error)}") from error
        except OSError as error:
            raise SardinoError(f"profile {path} cannot be read: {error}") from error


def known_profiles() -> list[str]:
    """Names of the built-in profiles, from small to large."""
    order = ["smoke", "laptop", "real", "paper"]
    names = {path.stem for path in FOLDER.glob("*.toml")}
    return [name for name in order if name in names] + sorted(names - set(order))


def locate(name_or_path: str | Path) -> Path:
    """The TOML file of a built-in profile, or the path itself."""
    text = str(name_or_path)
    if text in known_profiles():
        return FOLDER / f"{text}.toml"
    if text.endswith(".toml") and Path(text).is_file():
        return Path(text).resolve()
    known = ", ".join(known_profiles())
    raise SardinoError(f"no profile '{text}': give one of {known}, or the path of an existing .toml file")
