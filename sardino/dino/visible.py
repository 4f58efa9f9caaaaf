"""Masked modelling: a ViT sees some patches of a tile, a small decoder is to tell the others (He et al. 2022).

Symbols: B tiles, N patches of each, V of them visible, C channels, d the width of the ViT, T numbers told of a patch.
"""

import math
from typing import NamedTuple, cast

import torch
from timm.models import checkpoint_seq
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.objective import Part, Trainee
from sardino.dino.plain_attention import PlainAttention
from sardino.dino.radar_views import Layout
from sardino.dino.recipe import Physics, Rates, Recipe
from sardino.dino.skip_unused import skip_dropped
from sardino.dino.turns import WAYS, turn
from sardino.dino.vit import Architecture, build_vit, embed
from sardino.errors import SardinoError

HEAD = 32  # width of a decoder's attention head


class Draws(NamedTuple):
    """All that chance decides about a batch, on the CPU; the tile is turned first."""

    ways: Tensor  # (B,) which of the eight
    patches: Tensor  # (B, N) bool, hidden in all channels
    channels: Tensor  # (B, C) bool, hidden in all patches

    def part(self, start: int, stop: int) -> "Draws":
        """The draws of tiles `start` to `stop`, of a rank or a micro-batch."""
        return Draws(*(values[start:stop] for values in self))


class Hidden(NamedTuple):
    """What a step is given."""

    images: Tensor  # (B, C, H, W) float32, zero mean, unit variance, NaN where missing
    shown: Tensor  # the same; 0 where missing or hidden
    visible: Tensor  # (B, V) numbers of the patches that are not hidden
    asked: Tensor  # (B, N, C) bool, hidden with the patch or with the channel


def hidden_blocks(architecture: Architecture, recipe: Recipe) -> tuple[int, int]:
    """Side of a block in patches, 2 or, in an odd grid, 1; how many are hidden. Refused where that is none or all."""
    block = 1 if architecture.grid % 2 else 2
    blocks = (architecture.grid // block) ** 2
    count = round(recipe.masked * blocks)
    if not 0 < count < blocks:
        raise SardinoError(
            f"masked = {recipe.masked:g} hides {count} of a tile's {blocks} blocks of patches: change it"
        )
    return block, count


def visible_patches(architecture: Architecture, recipe: Recipe) -> int:
    """V."""
    block, count = hidden_blocks(architecture, recipe)
    return architecture.grid**2 - count * block**2


def draw_hidden(images: int, architecture: Architecture, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """(images, N) bool, as many in each."""
    block, count = hidden_blocks(architecture, recipe)
    side = architecture.grid // block
    blocks = (_ranks(images, side**2, generator) < count).view(images, side, side)
    return blocks.repeat_interleave(block, 1).repeat_interleave(block, 2).flatten(1)


def numbers_of(chosen: Tensor, count: int) -> Tensor:
    """(images, count) numbers in order of those that are chosen, as many of each (images, N) bool."""
    return (~chosen).byte().argsort(dim=1, stable=True)[:, :count]


def as_pixels(patches: Tensor, architecture: Architecture) -> Tensor:
    """What (images, N) says of patches, of each of their pixels: (images, 1, H, W)."""
    image = patches.unflatten(1, (1, architecture.grid, -1))
    return image.repeat_interleave(architecture.patch, 2).repeat_interleave(architecture.patch, 3)


class Hiding:
    """From tiles in dB to whole tiles, turned and flipped, of which blocks of patches and whole seasons are hidden.

    Blocks are of 2 x 2 patches, as many in each tile, since one patch is told by its neighbours too easily.

    Args:
        architecture, recipe: grid of patches; share of it, and of tiles' seasons, to hide.
        normalisation: channels, and their mean and standard deviation in dB.
    """

    def __init__(self, architecture: Architecture, recipe: Recipe, normalisation: Normalisation) -> None:
        normalisation.require(normalisation.channels, "dB")
        self.architecture, self.recipe = architecture, recipe
        hidden_blocks(architecture, recipe)
        self.season = torch.zeros(len(normalisation.channels), dtype=torch.int64)
        if recipe.hide_seasons:
            layout = Layout(normalisation.channels)
            if len(layout.seasons) < 2:
                raise SardinoError(f"the channels hold the season {layout.seasons[0]} alone: set hide_seasons to 0")
            self.season = layout.season
        statistics = torch.tensor([normalisation.mean, normalisation.std], dtype=torch.float64)
        self.mean, self.std = statistics[..., None, None].float()  # (C, 1, 1) each

    def draw(self, batch: int, generator: torch.Generator) -> Draws:
        """All draws for a batch of `batch` tiles, from a CPU generator: on every rank the same for the whole batch."""
        ways = torch.randint(WAYS, (batch,), generator=generator)
        patches = draw_hidden(batch, self.architecture, self.recipe, generator)
        seasons = int(self.season.max()) + 1
        some = torch.randint(1, max(2, seasons), (batch, 1), generator=generator)  # one season at least is seen
        some *= torch.rand(batch, 1, generator=generator) < self.recipe.hide_seasons
        return Draws(ways, patches, (_ranks(batch, seasons, generator) < some)[:, self.season])

    @torch.no_grad()
    def normal(self, tiles_db: Tensor) -> Tensor:
        """Tiles (B, C, H, W) in dB to zero mean and unit variance, NaN = missing."""
        return ((tiles_db - self.mean.to(tiles_db)) / self.std.to(tiles_db)).nan_to_num(math.nan, math.nan, math.nan)

    @torch.no_grad()
    def __call__(self, tiles_db: Tensor, draws: Draws, noise: torch.Generator | None = None) -> Hidden:
        """What is made of tiles (B, C, H, W) in dB, NaN = missing, by their draws; there is no noise."""
        size = self.architecture.tile_px
        expected = len(draws.ways), len(self.season), size, size
        if tiles_db.shape != expected:
            raise SardinoError(f"these draws are of tiles of shape {expected}, not {tuple(tiles_db.shape)}")
        images = torch.stack(list(map(turn, self.normal(tiles_db), draws.ways.tolist())))
        visible = numbers_of(~draws.patches, visible_patches(self.architecture, self.recipe)).to(images.device)
        patches, channels = draws.patches.to(images.device), draws.channels.to(images.device)
        hidden = as_pixels(patches, self.architecture) | channels[..., None, None]
        # The patch embedding may look beyond its patch: what is hidden is hidden from all.
        shown = images.masked_fill(hidden, 0.0).nan_to_num(0.0)
        return Hidden(images, shown, visible, patches[..., None] | channels[:, None])


def _ranks(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """(rows, columns) an order of the columns for each row, drawn."""
    return torch.rand(rows, columns, generator=generator).argsort(1).argsort(1)


class MaskedNetwork(Trainee):
    """A ViT over the visible patches and its class token, then a decoder over all patches.

    Args:
        outputs: T.
    """

    def __init__(self, architecture: Architecture, recipe: Recipe, outputs: int) -> None:
        super().__init__()
        width, count = recipe.decoder_width, architecture.grid**2
        self.backbone = skip_dropped(build_vit(architecture, recipe.drop_path))
        self.enter = nn.Linear(architecture.width, width)
        self.stand_in = nn.Parameter(torch.zeros(1, 1, width))  # for each hidden patch
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + count, width))
        self.decoder = nn.Sequential(
            *(Block(width, width // HEAD, qkv_bias=True) for _ in range(recipe.decoder_depth)), nn.LayerNorm(width)
        )
        for block in self.decoder[:-1]:
            cast(Block, block).attn.__class__ = PlainAttention
        self.tell = nn.Linear(width, outputs)

    def forward(self, shown: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and numbers (B, V) to what is told, (B, N, T), and the visible tokens (B, V, d)."""
        vit = self.backbone
        kept = torch.cat([torch.zeros_like(visible[:, :1]), visible + 1], 1)[..., None]  # the class token passes along
        x = embed(vit, shown).gather(1, kept.expand(-1, -1, vit.embed_dim))
        x = checkpoint_seq(vit.blocks, x) if vit.grad_checkpointing else vit.blocks(x)
        tokens = vit.norm(x)  # (B, 1 + V, d)
        entered = self.enter(tokens)
        everywhere = self.stand_in.to(entered.dtype).expand(len(x), self.places.shape[1], -1)
        y = everywhere.scatter(1, kept.expand_as(entered), entered) + self.places
        return self.tell(self.decoder(y)[:, 1:]), tokens[:, 1:].clone()


class MaskedModelling:
    """What objectives share whose loss is the error of what the decoder tells; each has targets and an error."""

    ln_k: float | None = None
    hides: type[Hiding] = Hiding

    def __init__(self, architecture: Architecture, recipe: Recipe, device: torch.device) -> None:
        self.architecture, self.recipe, self.device = architecture, recipe, device

    @property
    def moving(self) -> dict[str, Tensor]:
        return {}

    @property
    def outputs(self) -> int:
        """T."""
        raise NotImplementedError

    def targets(self, images: Tensor) -> Tensor:
        """Of (B, C, H, W) normalised: (B, N, C, T / C), each of mean 0, not finite where nothing is known."""
        raise NotImplementedError

    def error(self, told: Tensor, targets: Tensor) -> Tensor:
        """Of each number."""
        raise NotImplementedError

    def network(self) -> Trainee:
        return MaskedNetwork(self.architecture, self.recipe, self.outputs)

    def hiding(self, normalisation: Normalisation, physics: Physics) -> Hiding:
        """Views without SAR physics, which is refused."""
        if not physics.off:
            raise SardinoError(f"SAR views are of DINO's crops: '{self.recipe.objective}' takes none, leave them off")
        return self.hides(self.architecture, self.recipe, normalisation)

    def learn(self, student: nn.Module, teacher: Trainee, given: Hidden, rates: Rates) -> Part:
        """The mean error: whole where hidden, by `visible_weight` elsewhere, none where nothing is known."""
        told, tokens = student(given.shown, given.visible)  # (B, N, T), (B, V, d)
        targets = self.targets(given.images)
        weight = torch.where(given.asked[..., None], 1.0, self.recipe.visible_weight) * targets.isfinite()
        targets = targets.nan_to_num(0, 0, 0)
        told = told.view_as(targets).to(targets.dtype)
        loss = (weight * self.error(told, targets)).mean()
        blank = (weight * self.error(torch.zeros_like(told), targets)).mean()
        return Part(loss, tokens[:, ::8].detach().flatten(0, 1), {"blank": blank.detach()})

    def settle(self, student: Trainee, means: dict[str, Tensor], rates: Rates) -> None:
        """Nothing moves besides the weights."""
