"""Each layout, with random weights: adopted, the ViT says of images what it said in its own library.

The public checkpoints of DINO, DINOv2 and MAE name weights as timm's VisionTransformer does, and compute the same. So
they are built here from timm's, with the dictionaries, prefixes and further tensors that those repositories write.
"""

import re
from argparse import Namespace

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from sardino.dino.attention import class_attention
from sardino.dino.vit import Architecture, build_vit, encode
from sardino.errors import SardinoError
from sardino.weights.checkpoint import read_tensors
from sardino.weights.layouts import as_own, find_backbone

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
IMAGES = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(1))


def random_vit(seed=0, **changed):
    """A ViT of timm's in which every weight matters."""
    torch.manual_seed(seed)
    sizes = {"img_size": 32, "patch_size": 8, "in_chans": 2, "embed_dim": 24, "depth": 2, "num_heads": 3}
    vit = VisionTransformer(**(sizes | changed)).eval()
    with torch.no_grad():
        for name, weight in vit.named_parameters():
            weight.normal_(0, 0.3).add_(1 if "norm" in name and "weight" in name else 0)
    return vit


def with_names(state, before):
    return {f"{before}{name}": tensor for name, tensor in state.items()}


def adopted(content, tmp_path, take="", heads=3, tile_px=None):
    """The place in the file, and our ViT with the weights of it."""
    torch.save(content, tmp_path / "weights.pth")
    place, found = find_backbone(read_tensors(tmp_path / "weights.pth"), take, tmp_path / "weights.pth")
    architecture, state = as_own(found, tmp_path / "weights.pth", heads, tile_px)
    vit = build_vit(architecture)
    vit.load_state_dict(state, strict=True)
    return place, vit.eval()


@torch.no_grad()
def assert_alike(own, theirs):
    """Class token, registers and patches of the last block, and every head's attention."""
    torch.testing.assert_close(own.forward_features(IMAGES), theirs.forward_features(IMAGES), **TOLERANCE)
    torch.testing.assert_close(
        class_attention(own, IMAGES, [0, -1]), class_attention(theirs, IMAGES, [0, -1]), rtol=1e-5, atol=1e-4
    )


def test_dino_teacher_and_student(tmp_path):
    """github.com/facebookresearch/dino: teacher and student, whose every name begins with module, and their heads."""
    teacher, student, head = random_vit(1), random_vit(2), {"mlp.0.weight": torch.randn(8, 24)}
    content = {
        "student": with_names(student.state_dict(), "module.backbone.") | with_names(head, "module.head."),
        "teacher": with_names(teacher.state_dict(), "backbone.") | with_names(head, "head."),
        "optimizer": {"state": {0: {"exp_avg": torch.randn(3)}}},
        "epoch": 9,
        "args": Namespace(arch="vit_small"),
    }
    for take, place, theirs in (
        ("", "teacher.backbone", teacher),
        ("student", "student.module.backbone", student),
    ):
        found, own = adopted(content, tmp_path, take)
        assert found == place
        assert_alike(own, theirs)
    assert adopted(student.state_dict(), tmp_path)[0] == ""


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("chunked", [False, True])
def test_dinov2_registers_and_layer_scale(tmp_path, registers, chunked):
    """github.com/facebookresearch/dinov2: positions of the class token and patches, added before registers come in."""
    theirs = random_vit(init_values=1.0, reg_tokens=registers, no_embed_class=True)
    content = theirs.state_dict()
    of_class = torch.randn(1, 1, 24)  # which timm adds to the class token once and for all
    content["pos_embed"] = torch.cat([of_class, content["pos_embed"]], 1)
    content["cls_token"] = content["cls_token"] - of_class
    content["mask_token"] = torch.randn(1, 24)
    if registers:
        content["register_tokens"] = content.pop("reg_token")
    if chunked:  # as they are trained under FSDP
        content = {re.sub(r"^blocks\.(\d)", r"blocks.\1.\1", name): tensor for name, tensor in content.items()}
    _, own = adopted(content, tmp_path)
    assert own.num_prefix_tokens == 1 + registers
    assert_alike(own, theirs)
    assert encode(own, IMAGES).tokens.shape == (2, 4, 4, 24) and encode(own, IMAGES).attention.shape == (2, 3, 4, 4)


def test_mae_with_its_decoder(tmp_path):
    """github.com/facebookresearch/mae: under "model"; a decoder and a mask token lie beside the encoder."""
    theirs = random_vit()
    decoder = {"decoder_embed.weight": torch.randn(8, 24), "decoder_blocks.0.attn.qkv.weight": torch.randn(24, 8)}
    decoder |= {"mask_token": torch.randn(1, 1, 8), "decoder_pos_embed": torch.randn(1, 17, 8)}
    assert_alike(adopted({"model": theirs.state_dict() | decoder}, tmp_path)[1], theirs)


@pytest.mark.parametrize(
    "changed",
    [
        {"num_classes": 5},
        {"qkv_bias": False},
        {"reg_tokens": 4},
        {"reg_tokens": 4, "no_embed_class": True},
        {"no_embed_class": True, "init_values": 0.1},
        {"patch_size": 16, "in_chans": 2, "depth": 1},
    ],
    ids=str,
)
def test_timms_own(tmp_path, changed):
    theirs = random_vit(**changed)
    assert_alike(adopted({"state_dict": with_names(theirs.state_dict(), "module.")}, tmp_path)[1], theirs)


def test_half_precision_and_no_bias_of_patches(tmp_path):
    theirs = random_vit()
    state = theirs.half().state_dict()
    state.pop("patch_embed.proj.bias")
    theirs.float().patch_embed.proj.bias.data.zero_()
    assert_alike(adopted(state, tmp_path)[1], theirs)


def test_moco_holds_two_and_says_not_which(tmp_path):
    """github.com/facebookresearch/moco-v3, with which SSL4EO-S12 was learnt too."""
    base, momentum = random_vit(1), random_vit(2)
    content = with_names(base.state_dict(), "module.base_encoder.")
    content |= with_names(momentum.state_dict(), "module.momentum_encoder.")
    with pytest.raises(SardinoError, match=r"base_encoder, state_dict.module.momentum_encoder: say which with --take"):
        adopted({"state_dict": content}, tmp_path)
    assert_alike(adopted({"state_dict": content}, tmp_path, "momentum")[1], momentum)


def test_lightlys_wrapper(tmp_path):
    modules = pytest.importorskip("lightly.models.modules", reason="lightly is not installed")
    theirs = modules.MaskedVisionTransformerTIMM(vit=random_vit())
    for weight in theirs.parameters():  # the wrapper makes positions anew
        torch.nn.init.normal_(weight, 0, 0.3)
    place, own = adopted({"state_dict": with_names(theirs.state_dict(), "backbone.")}, tmp_path)
    assert place == "state_dict.backbone.vit"
    with torch.no_grad():
        torch.testing.assert_close(own.forward_features(IMAGES), theirs.eval().encode(IMAGES), **TOLERANCE)


def test_torchgeos(tmp_path):
    models = pytest.importorskip("torchgeo.models", reason="torchgeo is not installed")
    theirs = models.vit_small_patch16_224(in_chans=2, img_size=32).eval()
    assert_alike(adopted(theirs.state_dict(), tmp_path, heads=None)[1], theirs)


@settings(max_examples=10, deadline=None)
@given(grid=st.integers(2, 9), wanted=st.integers(2, 9), registers=st.sampled_from([0, 4]))
def test_positions_are_interpolated_as_by_dino(tmp_path_factory, grid, wanted, registers):
    """Bicubic; those of the class token and registers stay."""
    vit = random_vit(img_size=8 * grid, reg_tokens=registers, depth=1)
    _, own = adopted(vit.state_dict(), tmp_path_factory.mktemp("vit"), tile_px=8 * wanted)
    prefix = 1 + registers
    images = vit.pos_embed[:, prefix:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    expected = F.interpolate(images, (wanted, wanted), mode="bicubic").flatten(2).mT
    torch.testing.assert_close(own.pos_embed[:, prefix:], expected)
    assert torch.equal(own.pos_embed[:, :prefix], vit.pos_embed[:, :prefix])


@pytest.mark.parametrize(("name", "heads"), [("tiny", 3), ("small", 6), ("base", 12), ("large", 16)])
def test_heads_follow_from_the_usual_widths(tmp_path, name, heads):
    with torch.device("meta"):
        theirs = timm.create_model(f"vit_{name}_patch16_224", depth=1)
    state = {key: torch.zeros(weight.shape) for key, weight in theirs.state_dict().items() if "head" not in key}
    architecture, _ = as_own(state, tmp_path / "weights.pth")
    assert architecture == Architecture(theirs.embed_dim, 1, heads, 16, channels=3, tile_px=224)
    assert theirs.blocks[0].attn.num_heads == heads


def test_what_ours_is_not_is_refused(tmp_path):
    def told(content, words, **options):
        with pytest.raises(SardinoError, match=words) as error:
            adopted(content, tmp_path, **options)
        assert "weights" in str(error.value)

    cnn = timm.create_model("resnet10t").state_dict()
    told(cnn, "holds no Vision Transformer .* a CNN, or a ViT with other names")
    told({"epoch": 3}, "holds no Vision Transformer .* no tensor")
    told(random_vit(class_token=False, global_pool="avg").state_dict(), "no cls_token, and attention maps are")
    told(random_vit(pos_embed="none").state_dict(), "no pos_embed, and positions")
    told(random_vit(qk_norm=True).state_dict(), "it has blocks.0.attn.k_norm.bias and 7 more")
    told(random_vit(mlp_ratio=2).state_dict(), "in another shape blocks.0.mlp.fc1.bias and 5 more")
    told(random_vit(global_pool="avg").state_dict(), "it has fc_norm.bias and 1 more and lacks norm.bias")
    told(random_vit(img_size=(32, 40)).state_dict(), "21 positions .* are of no square")
    lacking = random_vit().state_dict()
    lacking.pop("blocks.0.attn.proj.weight")
    told(lacking, "lacks blocks.0.attn.proj.weight")
    told(random_vit().state_dict(), "do not show how many heads .* width 24 .* --heads", heads=None)
    told(random_vit().state_dict() | {"cls_token": torch.full((1, 1, 24), torch.nan)}, "are no numbers, in cls_token")
    told(random_vit().state_dict(), "holds the ViTs .without a name.: say which", take="student")
