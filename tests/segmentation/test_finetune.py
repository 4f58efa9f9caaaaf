import signal

import pytest
import torch

from sardino.data.tiles.landcover import IGNORE
from sardino.dino.batches import MemoryTiles, in_batches
from sardino.dino.pretrain import Stopped
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.evaluation.scores import majority, miou
from sardino.segmentation.finetune import (
    Diverged,
    Settings,
    draw,
    finetune,
    follow,
    predict,
    tile_confusions,
)
from sardino.segmentation.segmenter import build_segmenter

CPU = torch.device("cpu")
ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
SETTINGS = Settings(steps=30, growth=0, batch=4, looks=5, precision="float32")
SHORT = SETTINGS.changed(steps=7)


def easy_tiles(count, seed):
    """Three classes told apart by the mean of a patch-sized square: any arm that works must learn them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count, 1, 4, 4), generator=generator)
    labels = labels.repeat_interleave(8, 2).repeat_interleave(8, 3)
    images = torch.cat([labels.float() - 1, (labels == 1).float()], 1)
    images += 0.2 * torch.randn(images.shape, generator=generator)
    return MemoryTiles(images, labels[:, 0].to(torch.uint8))


def arm(encoding, frozen=False, seed=0):
    torch.manual_seed(seed)
    vit = None if encoding == "unet" else build_vit(ARCHITECTURE)
    sizes = dict(channels=2, classes=3, unet_width=8, unet_depth=2, decoder_width=16)
    return build_segmenter(encoding, vit, frozen=frozen, **sizes)


@pytest.mark.parametrize(("encoding", "frozen"), [("tokens", False), ("tokens", True), ("unet", False)])
def test_an_easy_task_is_learnt(encoding, frozen):
    model, test = arm(encoding, frozen), easy_tiles(6, 2)
    result = finetune(model, easy_tiles(8, 0), easy_tiles(4, 1), SETTINGS, classes=3, seed=0, device=CPU)
    matrices = tile_confusions(model, test, 3, CPU)
    assert matrices.shape == (6, 3, 3) and matrices.sum() == 6 * 32 * 32
    assert result.loss_last < result.loss_first
    assert miou(matrices.sum(0)) > 2 * miou(majority(matrices.sum(0)))


def trained(model, settings, seed=0, **options):
    result = finetune(model, easy_tiles(8, 0), easy_tiles(4, 1), settings, classes=3, seed=seed, device=CPU, **options)
    return result, {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other, part=""):
    return all(torch.equal(value, other[name]) for name, value in one.items() if name.startswith(part))


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_state_that_is_left_is_the_one_that_was_scored(keep):
    model = arm("tokens")
    result, _ = trained(model, SETTINGS.changed(keep=keep))
    score = float(miou(tile_confusions(model, easy_tiles(4, 1), 3, CPU, "float32").sum(0)))
    scores = [look["val_miou"] for look in result.curve]
    assert score == result.validation_miou == (scores[-1] if keep == "last" else max(scores))


@pytest.mark.parametrize("steps", [1, 3, 7, 10])
def test_looks_are_even_and_the_last_is_at_the_end(steps):
    result, _ = trained(arm("unet"), SETTINGS.changed(steps=steps))
    looks = [look["step"] for look in result.curve]
    assert looks == sorted({-(-steps * fifth // 5) for fifth in range(1, 6)}) and looks[-1] == steps
    assert len(result.losses) == steps
    before = result.curve[-2 if steps > 4 else -1]["val_miou"]  # at four fifths, where steps are enough to tell
    assert result.gain_last_fifth == result.curve[-1]["val_miou"] - before


def test_the_average_is_scored_and_moves_nothing_else():
    (with_it, average), (without, last) = (trained(arm("unet"), SHORT.changed(ema=ema)) for ema in (0.99, 0))
    assert with_it.losses == without.losses and not same(average, last)
    assert not torch.equal(average["decoder.stem.1.running_mean"], last["decoder.stem.1.running_mean"])
    model, other = arm("unet", seed=1), arm("unet", seed=2)
    middle = {k: (a + b) / 2 for (k, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True)}
    follow(model, other, 0.5)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, middle[name])


def test_a_pretrained_backbone_waits_for_its_decoder_and_then_learns():
    start = arm("tokens").state_dict()
    _, waited = trained(arm("tokens"), SHORT.changed(head_share=1), pretrained=True)
    _, learnt = trained(arm("tokens"), SHORT.changed(head_share=0.5), pretrained=True)
    _, scratch = trained(arm("tokens"), SHORT.changed(head_share=1))
    assert same(start, waited, "vit.") and not same(start, waited, "decoder.")
    names = [name for name in start if name.startswith("vit.")]
    late, soon = (sum(float((state[name] - start[name]).norm()) for name in names) for state in (learnt, scratch))
    assert 0 < late < soon, "later and slower than from scratch"


@pytest.mark.parametrize(("pretrained", "decay"), [(True, 0.5), (False, 1.0)])
def test_lower_layers_of_a_pretrained_backbone_learn_more_slowly(pretrained, decay, monkeypatch):
    made, adamw = [], torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, **rest: made.append(groups) or adamw(groups, **rest))
    model, settings = arm("tokens"), SHORT.changed(steps=1, layer_decay=0.5)
    trained(model, settings, pretrained=pretrained)
    rates = {parameter: group["peak"] for group in made[0] for parameter in group["params"]}
    decays = {p: group.get("weight_decay", settings.weight_decay) for group in made[0] for p in group["params"]}
    assert rates.keys() == set(model.parameters())
    vit, top = model.vit, settings.pretrained_lr if pretrained else settings.backbone_lr
    assert {rates[parameter] for parameter in model.decoder.parameters()} == {settings.lr}
    assert rates[vit.norm.weight] == rates[vit.blocks[1].attn.qkv.weight] == rates[vit.blocks[1].norm1.bias] == top
    assert rates[vit.blocks[0].mlp.fc1.weight] == top * decay
    assert rates[vit.patch_embed.proj.weight] == rates[vit.pos_embed] == rates[vit.cls_token] == top * decay**2
    assert all((decays[parameter] == 0) == (parameter.ndim == 1) for parameter in model.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_bfloat16_learns_as_float32_does(frozen):
    settings = SHORT.changed(steps=15, precision="bfloat16")
    half, _ = trained(arm("tokens", frozen), settings, pretrained=True)
    full, _ = trained(arm("tokens", frozen), settings.changed(precision="float32"), pretrained=True)
    assert half.losses != full.losses and half.losses == pytest.approx(full.losses, abs=0.05)
    assert half.loss_last < half.loss_first


def test_a_training_that_diverges_says_so():
    tiles = easy_tiles(4, 0)
    tiles.inputs[:] = float("nan")
    with pytest.raises(Diverged, match="lower the learning rate"):
        finetune(arm("unet"), tiles, easy_tiles(2, 1), SHORT, classes=3, seed=0, device=CPU)


def test_a_prediction_is_what_the_confusions_count():
    model, tiles = arm("unet"), easy_tiles(5, 3)
    maps = predict(model, tiles, CPU)
    right = tile_confusions(model, tiles, 3, CPU).trace(axis1=1, axis2=2)
    assert ((maps == tiles.labels.numpy()).sum((1, 2)) == right).all()


def test_asked_to_stop_it_saves_between_looks_and_goes_on_to_the_same_bits(tmp_path):
    class Asking(MemoryTiles):
        reads = 0

        def read(self, numbers):
            Asking.reads += 1
            if Asking.reads == 1 + 4:  # the first counts the pixels of each class
                signal.raise_signal(signal.SIGTERM)
            return super().read(numbers)

    def go_on(source, **changes):
        model, rest = arm("tokens"), dict(classes=3, seed=0, device=CPU, pretrained=True, snapshots=tmp_path)
        return finetune(model, source, easy_tiles(4, 1), SHORT.changed(**changes), **rest), model.state_dict()

    tiles = easy_tiles(8, 0)
    with pytest.raises(Stopped, match=r"after step 4 of 7; .*: the same command goes on"):
        go_on(Asking(tiles.inputs, tiles.labels))
    (result, state), (whole, expected) = go_on(tiles), trained(arm("tokens"), SHORT, pretrained=True)
    assert result == whole and same(state, expected)
    assert go_on(tiles)[0] == whole, "what is finished is opened only"
    with pytest.raises(SardinoError, match=r"is another training \(clip: was 3.0, is 2.0\)"):
        go_on(tiles, clip=2)


def test_unlabelled_training_is_refused():
    tiles = easy_tiles(3, 0)
    tiles.labels.fill_(IGNORE)
    with pytest.raises(SardinoError, match="no labelled pixel"):
        finetune(arm("unet"), tiles, easy_tiles(2, 1), SETTINGS, classes=3, seed=0, device=CPU)


def test_batches_use_few_tiles_evenly_and_lists_all_once():
    counts = torch.bincount(torch.tensor(draw(3, 8, torch.Generator().manual_seed(0))), minlength=3)
    assert counts.sum() == 8 and counts.max() - counts.min() <= 1
    parts = [len(y) for _, y in in_batches(easy_tiles(5, 0), 2)]
    assert parts == [2, 2, 1]
