"""What is run at the paper's size: arms, rows of the tables, and every size that can be changed."""

from dataclasses import dataclass

ARMS = {"europe": ("europe",), "all": ("europe", "conus", "china")}
"""Pre-training arms of the paper and their regions; "europe" has the small ViT, "all" the large one."""
TABLE_ROWS = [
    *(
        (arm, encoding, init)
        for arm in ARMS
        for encoding in ("attention", "tokens")
        for init in ("scratch", "frozen", "unfrozen")
    ),
    ("europe", "unet", "scratch"),
    *(("europe", "unet_attention", init) for init in ("scratch", "frozen", "unfrozen")),
]
"""(arm, encoding, initialisation) of each row of Tables 1 and 2."""


@dataclass(frozen=True)
class Preset:
    """Sizes of a run; the defaults are the paper's where the paper states them."""

    tile_px: int = 448
    tiles: tuple[tuple[int, int], ...] = ((25, 24), (20, 15), (20, 15))  # columns, rows per region; paper: 652 k tiles
    bands: int = 60
    tiny: tuple[int, int, int] = (192, 12, 3)  # width, depth, heads
    base: tuple[int, int, int] = (768, 12, 12)
    batches: tuple[int, int] = (64, 32)  # tiny, base; not stated
    rates: tuple[float, float] = (5e-4, 2e-4)  # of the small recipe; Table 3's 1e-6 is the paper recipe's
    head: tuple[int, int, int] = (2048, 256, 4096)  # hidden, bottleneck, prototypes of the small recipe
    paper_head: tuple[int, int, int] = (2048, 256, 65536)
    pretrain_steps: int = 100_000  # at most
    probe_steps: int = 9
    fractions: tuple[float, ...] = (1.0, 10.0, 0.1)  # percent; in this order, so that what is cut is the last
    cell_steps: int = 150  # at most, equal in all arms
    cell_batch: int = 8
    cell_rate: float = 3e-4
    validations: int = 3
    validation_tiles: int = 40
    unet_width: int = 32
    unet_depth: int = 3
    decoder_width: int = 128
    matrix: int = 8192


PRESETS = {
    "paper": Preset(),
    "cpu-test": Preset(
        tile_px=48,
        tiles=((5, 4), (5, 1), (5, 1)),
        bands=5,
        tiny=(24, 2, 3),
        base=(48, 2, 4),
        batches=(6, 6),
        head=(32, 16, 64),
        paper_head=(32, 16, 128),
        pretrain_steps=8,
        probe_steps=4,
        fractions=(50.0, 10.0),
        cell_steps=10,
        cell_batch=2,
        cell_rate=3e-3,
        validations=1,
        validation_tiles=4,
        unet_width=4,
        unet_depth=2,
        decoder_width=16,
        matrix=256,
    ),
}
