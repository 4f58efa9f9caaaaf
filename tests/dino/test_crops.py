import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sardino.dino.crops import crop_views, random_boxes, random_flips
from sardino.errors import SardinoError


def crop(images, boxes, flip, size, out=None):
    """`crop_views` with one view: boxes (B, 4), flip (B,), out and result (B, C, size, size)."""
    return crop_views(images, boxes[None], flip[None], [size], None if out is None else [out])[0]


@settings(max_examples=30, deadline=None)
@given(height=st.integers(16, 200), width=st.integers(16, 200), seed=st.integers(0, 2**31))
def test_boxes_lie_inside_the_image_and_keep_their_area(height, width, seed):
    boxes = random_boxes(50, height, width, (0.05, 0.4), torch.Generator().manual_seed(seed))
    top, left, h, w = boxes.double().unbind(1)
    assert (top >= -1e-4).all() and (left >= -1e-4).all()
    assert (top + h <= height + 1e-3).all() and (left + w <= width + 1e-3).all()
    assert (h * w <= 0.4 * height * width * 1.001).all()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    size=st.integers(1, 40),
    scale=st.sampled_from([(0.02, 0.1), (0.05, 0.4), (0.4, 1.0), (1.0, 1.0)]),
    seed=st.integers(0, 2**31),
)
def test_the_kernel_equals_grid_sample_in_float64(height, width, size, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 2, height, width, generator=generator)
    boxes = random_boxes(3, height, width, scale, generator)
    flip = random_flips(3, generator)
    out = torch.empty(3, 2, size, size)
    assert crop(images, boxes, flip, size, out=out) is out
    torch.testing.assert_close(out.double(), crop(images.double(), boxes.double(), flip, size), atol=1e-4, rtol=0)
    assert torch.equal(out, crop(images, boxes, flip, size))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_views_at_once_are_each_view_alone_and_normalised(dtype):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 2, 500, 300, generator=generator).to(dtype)
    sizes = [40, 17, 40]
    boxes = torch.stack([random_boxes(3, 500, 300, (0.2, 0.9), generator) for _ in sizes])
    flips = torch.stack([random_flips(3, generator) for _ in sizes])
    alone = [crop(images, box, flip, size) for box, flip, size in zip(boxes, flips, sizes, strict=True)]
    for view, expected in zip(crop_views(images, boxes, flips, sizes), alone, strict=True):
        assert torch.equal(view, expected)
    mean, std = (
        torch.tensor([-12.0, 3.0], dtype=dtype).view(2, 1, 1),
        torch.tensor([2.0, 0.5], dtype=dtype).view(2, 1, 1),
    )
    outs = [torch.empty_like(view) for view in alone]
    crop_views(images, boxes, flips, sizes, outs, (mean, std))
    for view, expected in zip(outs, alone, strict=True):
        torch.testing.assert_close(view, (expected - mean) / std, atol=1e-5, rtol=0)
    with pytest.raises(SardinoError, match="places"):
        crop_views(images, boxes, flips, sizes, outs[:2])


def test_a_box_beyond_the_edge_repeats_the_edge():
    images = torch.randn(1, 2, 9, 7)
    boxes, flip = torch.tensor([[-4.0, -3.0, 20.0, 15.0]]), torch.tensor([True])
    reference = crop(images.double(), boxes.double(), flip, 16)
    torch.testing.assert_close(crop(images, boxes, flip, 16).double(), reference, atol=1e-4, rtol=0)


def test_threads_and_memory_layout_do_not_change_a_bit():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 30, 40, 3, generator=generator).permute(0, 3, 1, 2)
    boxes, flip = random_boxes(5, 30, 40, (0.4, 1.0), generator), random_flips(5, generator)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            results.append(crop(images, boxes, flip, 24))
    finally:
        torch.set_num_threads(threads)
    results.append(crop(images.contiguous(), boxes, flip, 24))
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_the_whole_image_is_itself_and_its_mirror():
    image = torch.randn(2, 3, 20, 20)
    whole = torch.tensor([[0.0, 0.0, 20.0, 20.0]]).repeat(2, 1)
    same = crop(image, whole, torch.tensor([False, True]), 20)
    torch.testing.assert_close(same[0], image[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(same[1], image[1].flip(-1), atol=1e-5, rtol=1e-5)


def test_a_pixel_aligned_box_is_a_slice():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    piece = crop(image, torch.tensor([[2.0, 3.0, 4.0, 4.0]]), torch.tensor([False]), 4)
    torch.testing.assert_close(piece, image[..., 2:6, 3:7], atol=1e-4, rtol=1e-5)


def test_a_linear_ramp_stays_linear_inside():
    image = torch.arange(64.0).expand(1, 1, 64, 64)
    piece = crop(image, torch.tensor([[5.0, 10.5, 30.0, 24.0]]), torch.tensor([False]), 48)[0, 0]
    expected = 10.5 + (np.arange(48) + 0.5) * 24 / 48 - 0.5
    np.testing.assert_allclose(piece.numpy(), np.broadcast_to(expected, (48, 48)), atol=1e-5)


def test_a_missing_pixel_stays_missing_and_alone():
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 7, 7] = torch.nan
    piece = crop(image, torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([False]), 32)[0, 0]
    assert piece.isnan().any() and piece.isfinite()[:12].all() and piece.isfinite()[:, 18:].all()


def test_a_constant_stays_constant():
    """No transformation changes backscatter itself: crops and flips only (paper, section 2)."""
    images = torch.full((4, 12, 32, 32), 3.25)
    draw = torch.Generator().manual_seed(0)
    for scale, size in (((0.4, 1.0), 32), ((0.05, 0.4), 16)):
        view = crop(images, random_boxes(4, 32, 32, scale, draw), random_flips(4, draw), size)
        assert torch.equal(view, torch.full((4, 12, size, size), 3.25))


@pytest.mark.parametrize(
    "change",
    [
        {"images": torch.zeros(2, 8, 8)},
        {"images": torch.zeros(2, 3, 0, 8)},
        {"images": torch.zeros(2, 3, 8, 8, requires_grad=True)},
        {"boxes": torch.zeros(3, 4)},
        {"boxes": torch.full((2, 4), torch.nan)},
        {"flip": torch.zeros(1, dtype=torch.bool)},
        {"size": 0},
        {"out": torch.empty(2, 3, 4, 5)},
        {"out": torch.empty(2, 3, 4, 4, dtype=torch.float64)},
        {"out": torch.empty(2, 4, 4, 3).permute(0, 3, 1, 2)},
    ],
)
def test_what_does_not_fit_is_refused(change):
    fitting = {
        "images": torch.zeros(2, 3, 8, 8),
        "boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 2),
        "flip": torch.zeros(2, dtype=torch.bool),
        "size": 4,
    }
    crop(**fitting)
    with pytest.raises(SardinoError):
        crop(**{**fitting, **change})
