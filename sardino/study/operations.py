"""What the real networks do to one tile: operations and memory, counted on tensors that hold no numbers."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sardino.dino.head_and_loss import Head
from sardino.dino.recipe import Recipe
from sardino.dino.skip_unused import class_token_only
from sardino.dino.step import Network
from sardino.dino.views import half_tile
from sardino.dino.vit import Architecture, build_vit
from sardino.segmentation.segmenter import EncodingName, Segmenter, build_segmenter


@dataclass(frozen=True)
class Work:
    """Work on one tile, or on many; memory and parameters stay a tile's.

    Args:
        matrix, convolution: floating-point operations; a product and a sum are two.
        kept: bytes that the backward pass needs, float32, weights left out.
        parameters: numbers of the network.
        trained: those that have gradients.
        features: bytes of what a frozen backbone's cache keeps; 0 without one.
    """

    matrix: float = 0.0
    convolution: float = 0.0
    kept: float = 0.0
    parameters: int = 0
    trained: int = 0
    features: float = 0.0

    @property
    def operations(self) -> float:
        return self.matrix + self.convolution

    def __mul__(self, number: float) -> "Work":
        return replace(self, matrix=self.matrix * number, convolution=self.convolution * number)

    def __add__(self, other: "Work") -> "Work":
        """Both, one after the other, on the same network."""
        matrix, convolution = self.matrix + other.matrix, self.convolution + other.convolution
        return replace(self, matrix=matrix, convolution=convolution, kept=max(self.kept, other.kept))

    def __sub__(self, other: "Work") -> "Work":
        return self + other * -1


@cache
def pretraining_tile(architecture: Architecture, recipe: Recipe) -> Work:
    """One tile of a pre-training step: student forward and backward on all crops, teacher forward on the large ones.

    Layers that stochastic depth drops are counted: an upper bound, by half its rate.
    """
    with torch.device("meta"):
        backbone = class_token_only(build_vit(architecture))
        network = Network(backbone, Head(architecture.width, recipe.hidden, recipe.bottleneck, recipe.prototypes))
    tile, crop = architecture.tile_px, half_tile(architecture.tile_px, architecture.patch)

    def views() -> tuple[Tensor, Tensor]:
        return (
            torch.empty(recipe.global_crops, 1, architecture.channels, tile, tile),
            torch.empty(recipe.local_crops, 1, architecture.channels, crop, crop),
        )

    student = _count(network, lambda net: net(*views())[0].sum().backward())
    return student + _count(network, lambda net: net(views()[0]), gradient=False)


@dataclass(frozen=True)
class SupervisedTile:
    """One tile of a cell.

    Args:
        step: forward and backward, features made anew.
        decode: forward and backward from features that are there already.
        forward: a prediction.
        features: the encoding alone.
    """

    step: Work
    decode: Work
    forward: Work
    features: Work


@cache
def supervised_tile(
    encoding: EncodingName,
    frozen: bool,
    architecture: Architecture,
    classes: int,
    unet_width: int,
    unet_depth: int,
    decoder_width: int,
) -> SupervisedTile:
    """One tile of a cell of Table 1 or 2; `architecture` also gives the U-Net's channels and tile."""
    with torch.device("meta"):
        model = build_segmenter(
            encoding,
            None if encoding == "unet" else build_vit(architecture),
            channels=architecture.channels,
            classes=classes,
            unet_width=unet_width,
            unet_depth=unet_depth,
            decoder_width=decoder_width,
            frozen=frozen,
        )
    size = architecture.tile_px

    def image() -> Tensor:
        return torch.empty(1, architecture.channels, size, size)

    encoded: list[Tensor] = []
    features = Work() if model.vit is None else _count(model, lambda net: encoded.append(net.encode(image())), False)

    def decoder_input(net: Segmenter) -> Tensor:
        return net.join(image(), torch.empty(encoded[0].shape)) if encoded else image()

    return SupervisedTile(
        step=_count(model, lambda net: net(image()).sum().backward()),
        decode=_count(model, lambda net: net.decode(decoder_input(net), size).sum().backward()),
        forward=_count(model, lambda net: net(image()), gradient=False),
        features=replace(features, features=float(encoded[0].nbytes) if encoded else 0.0),
    )


def _count(network: nn.Module, work: Callable[[Any], object], gradient: bool = True) -> Work:
    """Do the work with a copy of the network whose tensors have shapes and no numbers."""
    network = copy.deepcopy(network)
    saved: dict[int, int] = {}
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        network.to_empty(device="cpu")
        own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[storage._cdata] = storage.nbytes()
            return tensor

        with torch.set_grad_enabled(gradient), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            work(network)
        parameters = [(p.numel(), p.requires_grad) for p in network.parameters()]
    by_kind = counter.get_flop_counts().get("Global", {})
    convolution = sum(flops for kind, flops in by_kind.items() if "convolution" in str(kind))
    return Work(
        matrix=float(sum(by_kind.values()) - convolution),
        convolution=float(convolution),
        kept=float(sum(saved.values())),
        parameters=sum(number for number, _ in parameters),
        trained=sum(number for number, trained in parameters if trained),
    )
