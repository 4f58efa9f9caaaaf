"""Profiles are typed: what is misspelt, missing or contradictory is named, and the paper's values are the paper's."""

import pytest

from sardino.dino.unet import UNet
from sardino.dino.vit import Architecture, build_vit, parameter_count
from sardino.errors import SardinoError
from sardino.segmentation.segmenter import build_segmenter
from sardino.segmentation.token_decoder import TokenDecoder
from sardino.study.profile import FOLDER, Profile, known_profiles


def changed(tmp_path, old, new, name="smoke"):
    text = (FOLDER / f"{name}.toml").read_text()
    assert old in text
    path = tmp_path / "changed.toml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("name", ["smoke", "laptop", "real", "mapinwild", "paper", "paper-size", "autopsy", "study"])
def test_built_in_profiles_load_and_state_command_hardware_and_time(name):
    profile = Profile.load(name)
    assert profile.name == name and name in known_profiles()
    header = (FOLDER / f"{name}.toml").read_text().partition("\n\n")[0]
    assert f"sardino reproduce {name}" in header
    assert all(word in header for word in ("Command:", "Hardware:", "Time:"))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SardinoError, match=r"'laptp'.*smoke, laptop, real, paper"):
        Profile.load("laptp")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("examples = 2", "exampels = 2", "'exampels' is not a known key"),
        ("unet_width = 8", "unet_widht = 8", "finetuning.unet_widht.*not a known key"),
        ("batch = 4", "batch = 0", "finetuning.batch.*greater than 0"),
        ("seeds = [0]", "seeds = []", "seeds"),
        ("seeds = [0]", "seeds = [0, 0]", "repeat"),
        ("fractions = [0.1, 1, 10]", "fractions = [101]", "fractions"),
        ("seeds = [0]", "seeds = [-1]", "seeds"),
        ("seeds = [0]", "seeds = [0]\ndraws = [2, 1]", "draws: 2 numbers for 3 fractions"),
        ("seeds = [0]", "seeds = [0]\ndraws = 0", "draws"),
        ("looks = 5", 'looks = 5\nloss = "hinge"', "finetuning.loss"),
        ("looks = 5", "looks = 5\nlr_fraction = 5", "lr_fraction: 5 is not among"),
        ('recipe = "small"', 'recipe = "small"\nencodings = ["hybrid"]', "hybrid.*not one of europe and all"),
        ("looks = 5", "looks = 7", "finetuning.looks.*multiple of 5"),
        ("lr_grid = [3e-3, 1e-2]", "lr_grid = [1e-2, 1e-2]", "lr_grid must not repeat"),
        ("lr_grid = [3e-3, 1e-2]", "lr_grid = [0, 1e-2]", "finetuning.lr_grid"),
        ("[pretraining.all]", "[pretraining.all-seed1]", "all-seed1.*choose another"),
        ('architecture = "tiny"', 'architecture = "huge"', "no architecture is named 'huge'"),
        ('regions = ["europe"]', 'regions = ["africa"]', "africa not among"),
        ("heads = 3", "heads = 5", "5 heads do not divide"),
        ("depth = 2, heads = 3, patch = 8", "depth = 2, heads = 3, patch = 12", "patch 12"),
        ("synthetic = true", "synthetic = false", "synthetic"),
        ('source = "world"', 'source = "folder"', "folder"),
        ('name = "smoke"', 'name = "../smoke"', "name"),
        ('recipe = "small"', 'recipe = "tiny"', "recipe"),
        ("pool = { europe", "pool = { africa", "africa not among"),
        ("pool = { europe = 20", "pool = { europe = -1", "pool.europe"),
        ("[data]", "[data", "not valid TOML"),
    ],
)
def test_a_faulty_profile_is_refused_in_one_sentence(tmp_path, old, new, message):
    with pytest.raises(SardinoError, match=message) as caught:
        Profile.load(changed(tmp_path, old, new))
    assert "\n" not in str(caught.value)


def test_a_hybrid_that_could_not_start_from_its_pretraining_is_refused_before_it(tmp_path):
    with pytest.raises(SardinoError, match=r"dense: unet_width and unet_depth are 16, 3 and .* 8, 3"):
        Profile.load(changed(tmp_path, "\nunet_width = 16", "\nunet_width = 8", "study"))


@pytest.mark.parametrize(
    ("text", "draws", "repetitions"),
    [
        ("seeds = [7]", [1, 1, 1], [(0, 7)]),
        ("seeds = [7]\ndraws = 3", [3, 3, 3], [(0, 7), (1, 7), (2, 7)]),
        ("seeds = [7, 8, 9]", [1, 1, 1], [(0, 7), (0, 8), (0, 9)]),
        ("seeds = [7, 8]\ndraws = [3, 2, 1]", [3, 2, 1], [(0, 7), (1, 8), (2, 7)]),
    ],
)
def test_a_cell_is_trained_once_for_each_draw_and_each_seed_at_least(tmp_path, text, draws, repetitions):
    profile = Profile.load(changed(tmp_path, "seeds = [0]", text))
    assert profile.draws == draws and profile.repetitions(0.1) == repetitions
    for number, fraction in zip(draws, profile.fractions, strict=True):
        assert {draw for draw, _ in profile.repetitions(fraction)} == set(range(number))
        assert {seed for _, seed in profile.repetitions(fraction)} == set(profile.seeds)


def test_a_profile_of_ones_own_loads_by_path(tmp_path):
    profile = Profile.load(changed(tmp_path, 'name = "smoke"', 'name = "mine"'))
    assert profile.name == "mine"


def test_recipes_and_overrides_are_those_of_the_training(tmp_path):
    recipe = pytest.importorskip("sardino.dino.recipe")
    for name in known_profiles():
        for pretraining in Profile.load(name).pretraining.values():
            assert recipe.find_recipe(pretraining.recipe, **pretraining.overrides).prototypes >= 64


def test_the_paper_profile_holds_the_papers_values():
    profile = Profile.load("paper")
    assert profile.data.tile_px == 448 and profile.data.bands == 60
    counts = {region: columns * rows for region, (columns, rows) in profile.data.regions.items()}
    assert counts == {"europe": 200_000, "conus": 167_000, "china": 285_000}
    tiny, base = profile.architecture("europe"), profile.architecture("all")
    assert (tiny.width, tiny.depth, tiny.heads, tiny.patch) == (192, 12, 3, 16)
    assert (base.width, base.depth, base.heads, base.patch) == (768, 12, 12, 16)
    assert profile.fractions == [0.1, 1, 10]
    assert {p.recipe for p in profile.pretraining.values()} == {"paper"}
    assert 100 <= profile.finetuning.epochs <= 200


def test_an_architecture_may_see_texture(tmp_path):
    assert not Profile.load("smoke").architecture("europe").texture
    textured = changed(tmp_path, "heads = 3, patch = 8 }", "heads = 3, patch = 8, texture = true }")
    assert Profile.load(textured).architecture("europe").texture


@pytest.mark.parametrize("name", ["laptop", "real"])
def test_decoders_of_all_arms_are_about_as_large_as_the_u_net(name):
    """Else one arm's score would tell of its decoder's size."""
    profile = Profile.load(name)
    tuning = profile.finetuning
    plain = parameter_count(UNet(12, 11, tuning.unet_width, tuning.unet_depth))
    for arm in profile.arms:
        size = profile.architecture(arm)
        decoders = [
            TokenDecoder(size.width, 11, size.patch, tuning.decoder_width),
            UNet(size.heads, 11, tuning.unet_width, tuning.unet_depth),
            UNet(12 + size.heads, 11, tuning.unet_width, tuning.unet_depth),
        ]
        assert all(0.75 <= parameter_count(decoder) / plain <= 1.25 for decoder in decoders), arm
    assert tuning.unet_width >= 16


def test_the_wide_u_net_of_study_is_the_first_as_large_as_that_with_tokens():
    profile = Profile.load("study")
    vit = build_vit(Architecture.of(profile.architecture("dense"), 12, profile.data.tile_px))
    (wide, tuning), (_, plain) = profile.row("wide", "scratch"), profile.row("hybrid", "scratch")
    with_tokens = build_segmenter("hybrid", vit, channels=12, classes=11, **plain.decoder)
    sizes = [parameter_count(UNet(12, 11, tuning.unet_width - less, tuning.unet_depth)) for less in (0, 1)]
    assert wide == "unet" and sizes[0] >= parameter_count(with_tokens) > sizes[1]
    assert tuning.changed(unet_width=plain.unet_width) == plain


def test_rates_are_tried_at_the_middle_fraction_unless_told():
    laptop = Profile.load("laptop")
    assert laptop.rate_fraction == 1
    told = laptop.finetuning.model_copy(update={"lr_fraction": 10})
    assert laptop.model_copy(update={"finetuning": told}).rate_fraction == 10


def test_a_row_of_tokens_has_rates_of_its_own_and_tries_those():
    profile = Profile.load("study")
    of_unet, of_tokens = (profile.row(encoding, "scratch")[1] for encoding in ("unet", "tokens"))
    share = profile.finetuning.tokens_lr
    assert of_unet == profile.finetuning and share < 1
    assert of_tokens.lr_grid == [rate * share for rate in of_unet.lr_grid]
    assert of_tokens.lr == of_unet.lr * share and of_tokens.backbone_lr == of_unet.backbone_lr


def test_a_self_trained_row_has_tiles_without_labels_and_the_rates_as_given():
    profile = Profile.load("study")
    network, tuning = profile.row("hybrid", "self-trained")
    assert (network, tuning.unlabelled, tuning.lr_grid) == ("hybrid", 8, [])
    assert tuning.changed(unlabelled=0, lr_grid=profile.finetuning.lr_grid) == profile.row("hybrid", "unfrozen")[1]


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        ({"self_trained": {"tokens": 8}}, "of unet and hybrid, not of tokens"),
        ({"self_trained": {"hybrid": 8}}, "no arm of .pretraining. has the encoding hybrid"),
        ({"self_trained": {"unet": 0}}, "self_trained.unet"),
        ({"finetuning": {"unlabelled": 8}}, "named in self_trained"),
    ],
)
def test_what_cannot_be_self_trained_is_refused(told, refused):
    given = {**Profile.load("laptop").model_dump(), **told}
    with pytest.raises(ValueError, match=refused):
        Profile.model_validate(given)


def test_an_unknown_arm_is_named():
    with pytest.raises(SardinoError, match="no arm 'asia'; it has europe, all"):
        Profile.load("smoke").architecture("asia")
