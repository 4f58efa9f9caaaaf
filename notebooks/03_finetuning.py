# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 Fine-tuning: one row of Table 1 or 2
#
# **Is a pre-trained backbone worth having when labels are few?**
#
# The paper's Table 1 asks it three ways: with attention maps or with tokens as the encoding; with a backbone
# that starts from scratch, is pre-trained and kept, or is pre-trained and trained on; with 0.1, 1 or 10 % of
# the labels. Table 2 puts a U-Net beside it: on backscatter alone (`unet`), and on backscatter and attention maps
# (`unet_attention`, 12 channels and 3).
#
# One run is one row: the regions of the pre-training, the encoding, the initialisation; its cells are the label
# fractions, draws of the labelled tiles, and seeds. All rows use the same tiles, the same steps, and are tested in the
# same way.

# %% tags=["parameters"]
profile = "smoke"
data = ""
regions = "europe"
encoding = "tokens"  # "attention" or "tokens" for Table 1, "unet" or "unet_attention" for Table 2
initialisation = "unfrozen"

# %%
import torch

from sardino.dino import unet
from sardino.dino.vit import encode
from sardino.reporting.figures import curves, style
from sardino.segmentation.token_decoder import TokenDecoder
from sardino.study.row import choose_rate, open_row, record_row, train_cell

run, experiment = open_row(profile, data, regions, encoding, initialisation)
tuning, store = experiment.tuning, experiment.store
print(f"labels: {store.metadata.get('labels', store.legend.name)}")
print(f"{len(experiment.train_ids)} training tiles, {len(experiment.test_ids)} test tiles, {len(store.legend)} classes")

# %% [markdown]
# ## Two encodings, two decoders
#
# The backbone turns a tile into tokens, one for each patch, and into attention maps, one for each head. Maps are
# enlarged to the tile and pass a **U-Net**; tokens pass **convolutions** that double the resolution until each pixel
# has its logits. Below, one test tile and networks with random weights: only shapes matter here.

# %% tags=["decoders"]
x, _ = experiment.test.read([0])  # (1, C, H, W), normalised
vit, classes = experiment.backbone(run.seeds[0]).cpu(), len(store.legend)
with torch.no_grad():
    seen = encode(vit, x)
    maps = unet.resize(seen.attention, x.shape[-2:])  # bilinear, to (1, heads, H, W)
    decoders = {
        "attention": (unet.UNet(maps.shape[1], classes, tuning.unet_width, tuning.unet_depth), maps),
        "tokens": (
            TokenDecoder(vit.embed_dim, classes, experiment.architecture.patch, tuning.decoder_width),
            seen.tokens,
        ),
    }
    for name, (decoder, encoded) in decoders.items():
        print(f"{name}: {tuple(encoded.shape)} to logits {tuple(decoder(encoded).shape)}")

# %% [markdown]
# ## What the paper leaves open, and what is chosen here
#
# - **Loss.** "Binary cross-entropy" cannot tell eleven classes apart. Cross-entropy over the classes is used, or,
#   with `loss = "one-vs-rest"`, a binary cross-entropy of each class. Pixels without data or label do not count.
# - **Rare classes.** The paper counts all pixels alike; then classes that few pixels have are learnt last, though an
#   mIoU counts classes alike. Here a pixel weighs its class's frequency among the labelled pixels to the power of
#   -`balance`, for all arms, and for the floors.
# - **Attention maps.** The class token's row of the last block, one map a head, 1 where attention is even, enlarged
#   bilinearly to the tile; then a U-Net. Where the backbone is trained on, gradients flow through them.
# - **Tokens.** Those of the last block, normalised, without the class token; then convolutions, each followed by batch
#   norm, ReLU and a bilinear doubling, one per halving of the patch. No ReLU on the logits.
# - **U-Net.** 3x3 convolutions in pairs with batch norm and ReLU. The text counts 3 blocks down and 4 up, which do not
#   pair: `unet_depth` go down and as many come up.
# - **Frozen.** The whole ViT with its patch embedding, in evaluation mode. What it makes of the tiles is computed once
#   and kept on disk (`feature_cache_gb`).
# - **Not frozen.** A decoder with random weights would wreck what the ViT has learnt. So the ViT stands still for
#   `head_share` of the steps; then its top block learns at `pretrained_lr`, each block below at `layer_decay` of what
#   is above. From scratch all of it learns at `backbone_lr` from the first step. The steps of all arms are the same.
# - **Decoders.** About as many parameters each, so that an arm's score does not tell of its decoder's size.
# - **Turns.** Land looks the same from all sides: each tile drawn, and its labels, is shown in one of the eight ways to
#   turn and flip a square, for all arms (`turns`). Validation and test tiles are not turned.
# - **Which ViT in Table 2.** That of the first pre-training, Europe: a map a head, 12 + 3 channels for ViT-Tiny.
# - **Backbone.** The student, as the paper says, or the teacher, as DINO does: `network` of the pre-training. Each seed
#   starts from the pre-training with the same seed.
# - **Normalisation.** Per channel, from the pre-training's training tiles; from scratch uses the same numbers.
# - **Optimiser.** AdamW, warm-up and cosine, gradients clipped per tensor. `lr` is the decoder's rate.
# - **How long.** The paper trains for 100 to 200 epochs. With few labels that is a handful of steps, so here steps are
#   counted: `steps` with 100 labelled tiles, more with more (`growth`).
# - **Which state is tested.** The moving average of the weights (`ema`), after the last step (`keep`). No test tile and
#   no lucky look at validation tiles decides it.
#
# `recipe = "paper"` is the paper's own way as far as it is told: epochs, no turns, no average, one stage, and the state
# that does best on validation tiles.
#
# The profile's numbers for this notebook:

# %%
print(f"network = {run.space.profile.arm(regions).network}")
for name, value in tuning:
    print(f"{name} = {value}")

# %% [markdown]
# ## The learning rate
#
# One rate does not suit all arms. Where the profile has a grid (`lr_grid`), this arm tries its rates with the first
# seed at one fraction and a share of the steps (`grid_share`). It leaves the usual rate only for one that is clearly
# better on the validation tiles: the 95 % interval of the difference, both trainings judged on the same resampled
# tiles, lies above 0. A better score alone may be chance, which another processor's rounding throws anew. The rate
# then holds for all cells of the arm; the ViT's rates go up and down with the decoder's. Test tiles have no say. With
# an empty grid the rates are as given.

# %%
search = choose_rate(experiment)
print(search)

# %% [markdown]
# ## The cells
#
# The labelled tiles of a smaller fraction are among those of a larger one of the same draw, and all arms learn from
# the same ones. The validation tiles are scored on the way, to see whether a training has ended or still rises; the
# test tiles are looked at once, at the end.

# %%
chosen = run.space.profile
trainings = [(fraction, *each) for fraction in chosen.fractions for each in chosen.repetitions(fraction)]
cells = [train_cell(experiment, *each, search.chosen) for each in trainings]

# %%
print(*cells, sep="\n")

# %%
names = ["{fraction:g} %, draw {draw}, seed {seed}".format_map(cell.row) for cell in cells]
losses = {name: cell.losses for name, cell in zip(names, cells, strict=True)}
looks = {name: cell.row["curve"] for name, cell in zip(names, cells, strict=True)}
title = f"{regions}, {encoding}, {initialisation}: {run.space.profile.title}"
style.preview(curves.draw_training(losses, looks, tuning.loss, title))

# %% [markdown]
# Each cell keeps one confusion matrix per test tile: from them come the mIoU over the whole test set and its
# interval.

# %%
record = record_row(run, experiment, search, cells)
