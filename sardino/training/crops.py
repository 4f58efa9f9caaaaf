"""Multi-crop for SAR: random resized crops and horizontal flips, nothing that would alter backscatter (section 2)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_boxes(count: int, height: int, width: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Crop boxes that lie inside the image.

    Args:
        count: number of boxes.
        height, width: image size in pixels.
        scale: smallest and largest share of the image's area.
        generator: CPU generator that draws them.

    Returns:
        (count, 4) float: top, left, height, width in pixels; aspect ratio 3:4 to 4:3, drawn in its logarithm.
    """
    area = torch.empty(count).uniform_(*scale, generator=generator) * (height * width)
    ratio = torch.empty(count).uniform_(math.log(3 / 4), math.log(4 / 3), generator=generator).exp()
    box_height = (area / ratio).sqrt().clamp(max=height)
    box_width = (area * ratio).sqrt().clamp(max=width)
    top = torch.rand(count, generator=generator) * (height - box_height)
    left = torch.rand(count, generator=generator) * (width - box_width)
    return torch.stack([top, left, box_height, box_width], dim=1)


def crop(images: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Cut one box from each image and resample it bilinearly, all in one call on the images' device.

    Args:
        images: (B, C, H, W).
        boxes: (B, 4) top, left, height, width in pixels.
        flip: (B,) bool, mirror east and west.
        size: side of the result in pixels.

    Returns:
        (B, C, size, size).
    """
    height, width = images.shape[-2:]
    top, left, box_height, box_width = boxes.to(images.device, images.dtype).unbind(1)
    sign = torch.where(flip.to(images.device), -1.0, 1.0).to(images.dtype)
    zero = torch.zeros_like(top)
    # Normalised coordinates run from -1 to 1 over the pixel area (align_corners=False).
    theta = torch.stack(
        [
            torch.stack([sign * box_width / width, zero, (2 * left + box_width) / width - 1], 1),
            torch.stack([zero, box_height / height, (2 * top + box_height) / height - 1], 1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def multi_crop(
    images: Tensor,
    generator: torch.Generator,
    *,
    global_crops: int,
    global_scale: tuple[float, float],
    global_px: int,
    local_crops: int,
    local_scale: tuple[float, float],
    local_px: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """DINO's views of a batch: large ones for student and teacher, small ones for the student alone.

    Returns:
        the global views (B, C, global_px, global_px) and the local views (B, C, local_px, local_px).
    """

    def view(scale: tuple[float, float], size: int) -> Tensor:
        boxes = random_boxes(len(images), images.shape[-2], images.shape[-1], scale, generator)
        flip = torch.rand(len(images), generator=generator) < 0.5
        return crop(images, boxes, flip, size)

    return (
        [view(global_scale, global_px) for _ in range(global_crops)],
        [view(local_scale, local_px) for _ in range(local_crops)],
    )
