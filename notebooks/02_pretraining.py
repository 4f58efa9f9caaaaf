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
# # 02 Pre-training
#
# **Does a ViT learn from SAR tiles alone, and can we see that it does not collapse?**
#
# The paper (section 2) trains a student ViT to agree with a teacher that is the student's own moving average.
# Its views are crops and horizontal flips and nothing else, because brightness is what a radar measures.
#
# One run of this notebook is one pre-training: an *arm* names its regions and its network. Where a profile has
# several seeds, each has a pre-training of its own, so that what fine-tuning starts from varies with it.

# %% tags=["parameters"]
profile = "smoke"
data = ""
arm = "europe"
seed = None  # the profile's first

# %%
import torch

from sardino.dino.recipe import PAPER
from sardino.reporting.figures import curves, pipeline, style
from sardino.study.arm import begin, first_crops, pretrain_arm, recipe_of
from sardino.study.run import open_run

run = open_run("pretrain", profile, data, arm=arm, seed=seed)
store, recipe = run.store, recipe_of(run.space, arm, run.store)

# %% [markdown]
# ## The recipe (Table 3)
#
# The paper's temperatures and its learning rate of 0.000001 are far from DINO's own. With them a short run
# hardly moves the backbone, so the small profiles use DINO's numbers, scaled down. Here both stand side by
# side; notebook 06 writes Table 3 from the records.

# %%
ours, theirs = recipe.to_dict(), PAPER.to_dict()
for name in ours:
    print(f"{name:28s} {ours[name]!s:>16s}   paper's recipe {theirs.get(name, '-')!s:>16s}")

# %% [markdown]
# ## What the student sees
#
# Two large and several small crops of each tile, flipped or not, cut in decibels and then normalised. The teacher
# sees the large ones only. Nothing else is changed. Below, VV, VH and their difference as red, green and blue.

# %%
tiles, large, small = first_crops(run.space, arm, store, 4)  # (B, C, H, W) dB, (2, B, C, H, W), (L, B, C, h, w)
seen = [[crop[0].numpy() for crop in crops] for crops in (large, small)]
style.preview(pipeline.draw_views(tiles[0].numpy(), *seen, store.channels, synthetic=store.synthetic))

# %% [markdown]
# ## One step of DINO, line by line
#
# Student *s* and teacher *t* are the same network, a ViT and a head, with the same weights *θ* at first. Each turns
# every crop that it sees into *K* logits. The loss is the cross-entropy between what the teacher says of one crop and
# what the student says of another, so that no label is needed. **Centring** takes from the teacher's logits their
# running mean *c*: else one prototype could win for all tiles. The low **temperature** sharpens: else all could win
# alike. Gradients reach the student alone; the teacher is an exponential moving average (**EMA**) of it.
#
# These lines are the step that the run below takes, over four tiles. A test compares loss, centre and weights.

# %% tags=["one-step"]
student, teacher, optimiser, c = begin(run.space, arm, store)
tau_s, tau_t = recipe.student_temperature, recipe.teacher_temperature
m_c, m = recipe.centre_momentum, recipe.momentum

# %% tags=["one-step"]
with torch.no_grad():
    t = teacher(large)[0].chunk(len(large))  # logits (B, K) of each large crop
s = student(large, small)[0].chunk(len(large) + len(small))  # and of every crop

p_t = [((logits - c) / tau_t).softmax(-1) for logits in t]  # centred and sharpened
log_p_s = [(logits / tau_s).log_softmax(-1) for logits in s]
pairs = [(i, j) for i in range(len(t)) for j in range(len(s)) if i != j]  # never a crop with itself
loss = -sum((p_t[i] * log_p_s[j]).sum(-1).mean() for i, j in pairs) / len(pairs)

loss.backward()
for theta_s in student.parameters():
    torch.nn.utils.clip_grad_norm_(theta_s, recipe.clip)  # each tensor by itself
optimiser.step()
with torch.no_grad():
    c = m_c * c + (1 - m_c) * torch.cat(t).mean(0)  # used first, moved after
    for theta_t, theta_s in zip(teacher.parameters(), student.parameters(), strict=True):
        theta_t.copy_(m * theta_t + (1 - m) * theta_s)  # EMA

# %%
print(f"large crops {tuple(large.shape)}, small {tuple(small.shape)}, logits {tuple(s[0].shape)}, {len(pairs)} pairs")
print(f"loss {loss.item():.3f}; a teacher that prefers nothing would give ln K = {torch.tensor(c.numel()).log():.3f}")

# %% [markdown]
# ## The run
#
# The loss asks the student for the teacher's answer on every *other* view. Only training tiles are used; the
# validation tiles serve the probe, which asks at the end what frozen tokens know of land cover. `sardino pretrain`
# is the same run on any store, on GPUs and under `torchrun`; its `--help` has the advice on tuning.

# %%
results = pretrain_arm(run.space, arm, seed=seed)

# %% tags=["nbval-check-output"]
print(
    f"{results['tiles']} training tiles, {results['architecture']['parameters']:,} parameters, {results['steps']} steps"
)

# %% [markdown]
# ## Did it learn or collapse?
#
# Loss alone does not tell. A teacher entropy that sits at ln K is collapse to the uniform; one answer for all
# tiles, an entropy of the mean target near 0, is collapse to a constant; a distance from the start near 0 is a
# backbone that never moved. What looks wrong is said in words; a run of a few steps has had no time to move.

# %%
for sentence in results["warnings"]:
    print("warning:", sentence)
probes = results["curves"]["probes"]
if probes["step"]:
    print(f"probe on validation tiles: mIoU {probes['linear'][-1]:.3f} linear, {probes['knn'][-1]:.3f} by neighbours")
    print(f"the line to beat, hand-made features: {probes['line'][-1]:.3f}; tokens beside: {probes['beside'][-1]:.3f}")

# %%
record = run.record(results)
name = run.space.profile.pretrained(arm, seed)
figure = curves.draw_pretraining([record])
run.save(figure, f"pretraining-{name}")
