import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sardino.training.crops import crop, multi_crop, random_boxes


@settings(max_examples=30, deadline=None)
@given(height=st.integers(16, 200), width=st.integers(16, 200), seed=st.integers(0, 2**31))
def test_boxes_lie_inside_the_image_and_keep_their_area(height, width, seed):
    boxes = random_boxes(50, height, width, (0.05, 0.4), torch.Generator().manual_seed(seed))
    top, left, h, w = boxes.double().unbind(1)
    assert (top >= -1e-4).all() and (left >= -1e-4).all()
    assert (top + h <= height + 1e-3).all() and (left + w <= width + 1e-3).all()
    assert (h * w <= 0.4 * height * width * 1.001).all()


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


def test_a_constant_stays_constant():
    """No transformation changes backscatter itself: crops and flips only (paper, section 2)."""
    images = torch.full((4, 12, 32, 32), 3.25)
    views, local_views = multi_crop(
        images,
        torch.Generator().manual_seed(0),
        global_crops=2,
        global_scale=(0.4, 1.0),
        global_px=32,
        local_crops=4,
        local_scale=(0.05, 0.4),
        local_px=16,
    )
    assert [v.shape[-1] for v in views + local_views] == [32, 32, 16, 16, 16, 16]
    assert all(torch.allclose(v, torch.tensor(3.25)) for v in views + local_views)
