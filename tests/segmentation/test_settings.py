"""How steps, rates and recipes follow from what a profile says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.errors import SardinoError
from sardino.segmentation.settings import Settings


def test_steps_grow_with_labels_or_follow_the_epochs():
    fair, alike = Settings(steps=400, growth=0.5), Settings(steps=400, growth=0)
    assert (fair.steps_for(1), fair.steps_for(100), fair.steps_for(10_000)) == (40, 400, 4000)
    assert alike.steps_for(1) == alike.steps_for(10_000) == 400
    capped = fair.changed(most_steps=900)
    assert (capped.steps_for(1), capped.steps_for(100), capped.steps_for(10_000)) == (40, 400, 900)
    paper = Settings(recipe="paper", batch=32)
    assert paper.steps_for(12_000) == 10 * paper.steps_for(1_200) == 37_500


def test_the_papers_way_has_none_of_the_others_and_what_is_given_changes_it():
    paper, fair = Settings(recipe="paper"), Settings()
    assert (paper.turns, paper.ema, paper.keep, paper.head_share, paper.layer_decay) == (False, 0, "best", 0, 1)
    assert paper.balance == 0 < fair.balance
    assert paper.pretrained_lr == paper.backbone_lr and paper.epochs and 100 <= paper.epochs <= 200
    assert (fair.keep, fair.epochs) == ("last", None) and fair.turns and fair.ema and fair.pretrained_lr < fair.lr
    changed = Settings(recipe="paper", ema=0.9)
    assert changed.ema == 0.9 and not changed.turns and changed.changed(batch=4).changed(batch=32) == changed
    with pytest.raises(SardinoError, match="recipe"):
        Settings(recipe="small")


@given(st.floats(1e-5, 1e-1))
def test_rates_keep_their_ratios(lr):
    settings = Settings()
    scaled = settings.scaled(lr)
    rates = {name: getattr(settings, name) for name in ("lr", "backbone_lr", "pretrained_lr")}
    assert scaled.lr == lr and scaled.changed(**rates) == settings
    for name in ("backbone_lr", "pretrained_lr"):
        assert getattr(scaled, name) / lr == pytest.approx(getattr(settings, name) / settings.lr)
    assert settings.scaled(settings.lr) == settings


def test_a_short_trial_has_a_share_of_the_steps():
    assert Settings(steps=1000).shortened(0.3).steps_for(100) == 300
    assert Settings(steps=1000, growth=1, most_steps=2000).shortened(0.3).steps_for(1000) == 600
    assert Settings(epochs=10, batch=5).shortened(0.5).steps_for(100) == 100


def test_a_token_decoder_takes_a_share_of_the_rate_once():
    settings = Settings(lr=0.02, tokens_lr=0.25)
    of_tokens = settings.of("tokens")
    assert of_tokens.lr == 0.005 and of_tokens.of("tokens") == of_tokens
    assert of_tokens.backbone_lr == settings.backbone_lr and settings.of("hybrid") == settings
    assert Settings(recipe="paper").of("tokens").lr == Settings(recipe="paper").lr
