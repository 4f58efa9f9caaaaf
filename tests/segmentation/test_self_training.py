"""Tiles without labels: what is cut, hidden and told of them, and that a training learns from it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_finetune import CPU, SETTINGS, arm, easy_tiles, same, trained

from sardino.dino.batches import MemoryTiles
from sardino.errors import SardinoError
from sardino.evaluation.scores import miou
from sardino.segmentation.finetune import finetune, tile_confusions
from sardino.segmentation.self_training import SelfTraining, boxes

CHANNELS = ["winter_asc_vv", "summer_asc_vv"]
LEARNING = SETTINGS.changed(unlabelled=4)


def without_labels(seed=0, settings=LEARNING, tiles=None):
    return SelfTraining(tiles or easy_tiles(6, 7), CHANNELS, settings, seed)


@given(st.integers(1, 5), st.sampled_from([8, 32, 96]), st.integers(0, 99))
def test_a_box_is_whole_inside_and_of_a_quarter_to_three_quarters_of_a_side(images, side, seed):
    for cut in boxes(images, side, torch.Generator().manual_seed(seed)):
        rows, columns = cut.any(1), cut.any(0)
        assert cut.sum() == rows.sum() * columns.sum() and torch.equal(cut, rows[:, None] & columns)
        for line in (rows, columns):
            place = line.nonzero().flatten()
            assert round(side / 4) <= len(place) <= round(3 * side / 4)
            assert place[-1] - place[0] + 1 == len(place)


def test_a_whole_season_is_hidden_of_some_and_none_where_there_is_one():
    hidden = without_labels().hidden(400, torch.Generator().manual_seed(0))
    assert hidden.shape == (400, 2) and not hidden.all(1).any()
    assert 120 < hidden.any(1).sum() < 280 and hidden.any(0).all()
    for channels in (["winter_asc_vv", "winter_asc_vh"], ["vv", "vh"]):
        assert not replace(without_labels(), channels=channels).hidden(400, torch.Generator().manual_seed(0)).any()


def test_only_what_the_average_is_sure_of_is_told_and_of_each_pixel_its_own():
    """An average that reads the class off a tile; a network that repeats it has no error, a turned one has."""
    tiles = easy_tiles(6, 7)
    exact = MemoryTiles(torch.stack([tiles.labels.float() - 1] * 2, 1), tiles.labels)
    own = without_labels(tiles=exact)

    def logits(images, sharp):
        return sharp * torch.stack([-(images[:, :1] - level).square() for level in (-1, 0, 1)], 2).squeeze(1)

    sure, unsure = (lambda images: logits(images, 50.0)), (lambda images: logits(images, 0.1))
    assert own.loss(unsure, sure, 5, CPU) == 0
    # Nothing is hidden of the first channel in these steps, or 0 stands for it: the middle class.
    seen = [own.loss(sure, sure, step, CPU) for step in range(8)]
    assert min(seen) < 1e-6 and own.loss(sure, lambda images: -sure(images), 5, CPU) > 1


def test_it_counts_once_the_average_knows_something():
    own = without_labels()
    assert [own.weight(step, 100) for step in (0, 10, 30, 99)] == [0, 0, 1, 1]
    assert own.weight(20, 100) == pytest.approx(0.5)


def test_a_step_draws_its_own_and_the_same_again():
    own, model = without_labels(settings=LEARNING.changed(confidence=0.01)), arm("unet")
    one, again, other = (own.loss(model.eval(), model, step, CPU) for step in (5, 5, 6))
    assert one == again != other != replace(own, seed=1).loss(model, model, 6, CPU)


@pytest.mark.parametrize("encoding", ["unet", "hybrid"])
def test_a_training_learns_from_tiles_without_labels(encoding):
    """Labels of two tiles alone, and thirty others: the average's maps are worth something."""
    scores = []
    for beside in (None, without_labels(tiles=easy_tiles(30, 8))):
        model = arm(encoding)
        given = {"classes": 3, "seed": 0, "device": CPU, "beside": beside}
        result = finetune(model, easy_tiles(2, 0), easy_tiles(4, 1), LEARNING, **given)
        scores.append(float(miou(tile_confusions(model, easy_tiles(6, 2), 3, CPU).sum(0))))
        assert len(result.losses) == 30
    assert scores[1] != scores[0] and min(scores) > 0.3


def test_labels_of_those_tiles_change_nothing():
    tiles = easy_tiles(6, 7)
    wrong = MemoryTiles(tiles.inputs, 2 - tiles.labels)
    states = [trained(arm("unet"), LEARNING, beside=without_labels(tiles=each))[1] for each in (tiles, wrong)]
    assert same(*states)


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    _, whole = trained(arm("unet"), LEARNING, beside=without_labels())

    class Gone(Exception):
        pass

    class Cut(SelfTraining):
        def weight(self, step, steps):
            if step == 20:
                raise Gone
            return super().weight(step, steps)

    with pytest.raises(Gone):
        trained(arm("unet"), LEARNING, beside=Cut(easy_tiles(6, 7), CHANNELS, LEARNING, 0), snapshots=tmp_path)
    _, resumed = trained(arm("unet"), LEARNING, beside=without_labels(), snapshots=tmp_path)
    assert same(whole, resumed)


def test_where_it_has_no_place_it_is_refused():
    with pytest.raises(SardinoError, match="6 tiles give no 9 beside each batch"):
        without_labels(settings=LEARNING.changed(unlabelled=9))
    for model, settings in ((arm("tokens", frozen=True), LEARNING), (arm("unet"), LEARNING.changed(ema=0.0))):
        with pytest.raises(SardinoError, match="a backbone that moves, one process and an average"):
            trained(model, settings, beside=without_labels(settings=settings))
