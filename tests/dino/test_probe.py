import numpy as np
import pytest
import torch

from sardino.data.tiles.landcover import IGNORE
from sardino.dino import probe
from sardino.dino.probe import handmade_tokens, knn_probe, linear_probe, raw_tokens, tokens_of, tuned_probe
from sardino.dino.texture import FEATURES
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError

CLASSES = 4


def planted(seed, tiles=6, side=5, width=8, spread=0.1):
    """Tokens about one direction a class, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, (tiles, side, side)).astype(np.uint8)
    tokens = np.eye(width)[labels] + rng.normal(0, spread, (*labels.shape, width))
    return tokens.astype(np.float32), labels


@pytest.mark.parametrize("judge", [linear_probe, knn_probe])
def test_classes_that_lie_apart_are_told_apart(judge):
    found = judge(planted(0), planted(1), CLASSES)
    assert found.miou == 1 and found.converged and found.tokens == 150
    assert found.confusion.sum() == 150 and found.confusion.shape == (CLASSES, CLASSES)


@pytest.mark.parametrize("judge", [linear_probe, knn_probe])
def test_shuffled_labels_give_chance(judge):
    tokens, labels = planted(0, tiles=20)
    shuffled = np.random.default_rng(2).permutation(labels.ravel()).reshape(labels.shape)
    # A guess at random among n level classes: both sides hold 1/n, and meet in 1/n^2.
    assert judge((tokens, shuffled), planted(1, tiles=20), CLASSES).miou < 1.6 / (2 * CLASSES - 1)


@pytest.mark.parametrize("judge", [linear_probe, knn_probe])
@pytest.mark.parametrize("most", [60, 1000])
def test_the_order_of_tiles_changes_nothing(judge, most):
    train, test = planted(0, spread=0.8), planted(1, spread=0.8)
    order = np.random.default_rng(3).permutation(len(train[0]))
    turned = [(tokens[order], labels[order]) for tokens, labels in (train, test)]
    moved = judge(*turned, CLASSES, seed=4, most=most)
    here = judge(train, test, CLASSES, seed=4, most=most)
    assert 0 < here.miou < 1
    np.testing.assert_array_equal(here.confusion, moved.confusion)


def test_the_seed_decides_the_draw():
    train, test = planted(0, spread=0.8), planted(1, spread=0.8)
    draws = [linear_probe(train, test, CLASSES, seed=seed, most=40) for seed in (0, 0, 1)]
    assert draws[0].tokens == 40
    np.testing.assert_array_equal(draws[0].confusion, draws[1].confusion)
    assert (draws[0].confusion != draws[2].confusion).any()


def test_neighbours_vote_as_written_down():
    (tokens, labels), (asked, reference) = planted(0, spread=0.6), planted(1, spread=0.6)
    train, test = tokens.reshape(-1, 8).astype(float), asked.reshape(-1, 8).astype(float)
    train /= np.linalg.norm(train, axis=1, keepdims=True)
    test /= np.linalg.norm(test, axis=1, keepdims=True)
    expected = np.zeros((CLASSES, CLASSES), int)
    for token, truth in zip(test, reference.ravel(), strict=True):
        similarity = train @ token
        nearest = np.argsort(-similarity)[:20]
        votes = np.bincount(labels.ravel()[nearest], np.exp(similarity[nearest] / 0.07), CLASSES)
        expected[truth, votes.argmax()] += 1
    np.testing.assert_array_equal(knn_probe((tokens, labels), (asked, reference), CLASSES).confusion, expected)


@pytest.mark.parametrize("judge", [linear_probe, knn_probe])
def test_patches_without_a_label_take_no_part(judge):
    train, test = planted(0, spread=0.8), planted(1, spread=0.8)
    train[1][2:4], test[1][:, 0] = IGNORE, IGNORE
    found = judge(train, test, CLASSES)
    assert found.tokens == 100 and found.confusion.sum() == 120
    train[0][2:4], test[0][:, 0] = 7, -7
    np.testing.assert_array_equal(judge(train, test, CLASSES).confusion, found.confusion)


def test_one_class_is_predicted_everywhere():
    tokens, labels = planted(0)
    found = linear_probe((tokens, np.full_like(labels, 2)), (tokens, labels), CLASSES)
    assert found.iterations == 0 and found.confusion[:, 2].sum() == labels.size


def test_a_solver_that_was_cut_short_says_so(monkeypatch):
    monkeypatch.setattr(probe, "ITERATIONS", 2)
    found = linear_probe(planted(0, spread=0.8), planted(1), CLASSES)
    assert not found.converged and found.iterations == 2


def test_what_does_not_fit_is_refused():
    tokens, labels = planted(0)
    with pytest.raises(SardinoError, match="same patches"):
        linear_probe((tokens[:2], labels), (tokens, labels), CLASSES)
    with pytest.raises(SardinoError, match="no training patch"):
        knn_probe((tokens, np.full_like(labels, IGNORE)), (tokens, labels), CLASSES)
    with pytest.raises(SardinoError, match="finite"):
        knn_probe((tokens * np.float32(np.nan), labels), (tokens, labels), CLASSES)
    with pytest.raises(SardinoError, match="do not divide"):
        raw_tokens(np.zeros((1, 2, 4, 6), np.float32), 4)


def test_raw_tokens_are_means_of_patches():
    images = np.random.default_rng(0).random((2, 3, 4, 6)).astype(np.float32)
    found = raw_tokens(images, 2)
    assert found.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(found[1, 0, 2], images[1, :, 0:2, 4:6].mean((1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(raw_tokens(torch.from_numpy(images), 2), found)


def test_handmade_tokens_tell_rough_from_smooth_where_means_cannot():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (8, 4, 4)).astype(np.uint8)
    rough = (0.1 + labels)[:, None].repeat(8, 2).repeat(8, 3)
    images = (rng.normal(0, 1, (8, 2, 32, 32)) * rough).astype(np.float32)
    handmade, raw = handmade_tokens(images, 8), raw_tokens(images, 8)
    assert handmade.shape == (8, 4, 4, 2 * (1 + FEATURES)) and handmade.dtype == np.float32
    np.testing.assert_array_equal(handmade[..., :2], raw)
    apart, alike = (linear_probe((x[:4], labels[:4]), (x[4:], labels[4:]), 2).miou for x in (handmade, raw))
    assert apart > 0.95 and alike < 0.8


def test_counts_are_kept_tile_by_tile():
    tokens, labels = planted(1, spread=0.8)
    labels[2, :3] = IGNORE
    whole = linear_probe(planted(0), (tokens, labels), CLASSES)
    alone = [linear_probe(planted(0), (tokens[n : n + 1], labels[n : n + 1]), CLASSES) for n in range(6)]
    assert whole.confusions.shape == (6, CLASSES, CLASSES)
    np.testing.assert_array_equal(whole.confusions, np.concatenate([each.confusions for each in alone]))


def test_validation_chooses_the_penalty_and_test_tiles_do_not():
    train, validation, test = planted(0, tiles=1, spread=1.5), planted(1, spread=1.5), planted(2, spread=1.5)
    judged = [linear_probe(train, validation, CLASSES, penalty=each).miou for each in probe.PENALTIES]
    chosen = linear_probe(train, test, CLASSES, penalty=probe.PENALTIES[int(np.argmax(judged))])
    np.testing.assert_array_equal(tuned_probe(train, validation, test, CLASSES).confusions, chosen.confusions)
    assert len(set(judged)) > 1


def test_tokens_lie_where_their_patches_lie_and_the_vit_stays_as_it_is():
    torch.manual_seed(0)
    vit = build_vit(Architecture(width=12, depth=1, heads=3, patch=8, channels=2, tile_px=16), drop_path=0.5).train()
    images = torch.randn(5, 2, 16, 24)
    whole = tokens_of(vit, images, batch=2)
    assert whole.shape == (5, 2, 3, 12) and whole.dtype == np.float32
    np.testing.assert_allclose(tokens_of(vit, (images[:3], images[3:])), whole, atol=1e-5)
    assert vit.training and all(p.requires_grad and p.grad is None for p in vit.parameters())
