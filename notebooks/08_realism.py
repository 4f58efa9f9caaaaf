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
# # 08 Realism: the synthetic world beside measured Sentinel-1
#
# **Does the synthetic world look like radar, and where does it not?** Its backscatter is compared with real
# chips, where a folder of them is given, and with the published means of BigEarthNet-S1.
#
# `data` (or the environment variable `SARDINO_DATA`) names a folder that holds `los-angeles`, `finland-biomass`,
# `belgium-monthly` and `terramesh`, or some of them. Without it the synthetic images stand alone.

# %% tags=["parameters"]
profile = "smoke"
data = ""

# %%
import time

from sardino.evaluation.realism import BIGEARTHNET_S1_DB
from sardino.reporting.realism import draw_images, draw_statistics
from sardino.reporting.record import write_record
from sardino.reporting.style import preview, save_figure
from sardino.scenes.world import World
from sardino.workflow.realism import EDGES, measured_folder, measured_images, synthetic_images
from sardino.workflow.workspace import Workspace

started = time.time()
space = Workspace.open(profile, data=data)
seed = space.profile.data.seed
folder = measured_folder(space.data)
measured = measured_images(folder)
images = {f"{image.name}, {image.dates}": image for image in synthetic_images(seed, 224) + measured}
if not measured:
    print("No real chips were given: only published means stand beside the synthetic images.")

# %% [markdown]
# ## Pictures
#
# VH, brought to zero mean and unit variance: Los Angeles is uncalibrated, so that its level says nothing.

# %%
figure = draw_images({title: image.polarisations["vh"][:224, :224] for title, image in images.items()})
save_figure(figure, space.figures, "realism_images")
preview(figure)

# %% [markdown]
# ## Histograms, spatial correlation and equivalent number of looks
#
# Correlation at small lags comes from the sensor's footprint and from resampling, at large lags from the
# landscape. Looks are those of the most homogeneous tenth of the squares of 9 x 9 pixels: speckle that is
# correlated raises them above the nominal 4.4 of one date. Composites of different lengths differ for that reason.

# %%
statistics = {title: image.statistics() for title, image in images.items()}
vh = {title: found["vh"] for title, found in statistics.items()}
figure = draw_statistics(vh, {title: image.synthetic for title, image in images.items()}, EDGES)
save_figure(figure, space.figures, "realism_statistics")
preview(figure)

# %% [markdown]
# ## Levels and classes
#
# Published means are of single dates over all of Europe, the sea included; three small places, synthetic or
# measured, need not come to them. Measured chips with labels of another legend are listed under its names. TerraMesh is
# gamma nought with terrain flattening, the synthetic world is sigma nought: about 1 dB apart at 38 degrees.

# %%
for pol, (mean, deviation) in BIGEARTHNET_S1_DB.items():
    print(f"{'BigEarthNet-S1, published':48s} {pol} {mean:7.2f} +- {deviation:.2f} dB")
for title, found in statistics.items():
    for pol, values in found.items():
        level = f"{values['mean_db']:7.2f} +- {values['std_db']:.2f} dB" if "mean_db" in values else "uncalibrated"
        print(f"{title:48s} {pol} {level}, {values['looks']:.1f} looks")

# %%
for title, values in vh.items():
    for name, (mean, deviation) in values.get("classes", {}).items():
        print(f"{title:48s} {name:28s} VH {mean:7.2f} +- {deviation:.2f} dB")

# %%
record = write_record(
    space.record("realism"),
    kind="realism",
    profile=space.profile.name,
    parameters={"profile": profile, "data": data},
    seeds=[seed],
    data={**World(seed).metadata(), "measured": [image.name for image in measured]},
    results={
        "statistics": statistics,
        "synthetic": {title: image.synthetic for title, image in images.items()},
        "bigearthnet_s1_db": {pol: list(level) for pol, level in BIGEARTHNET_S1_DB.items()},
        "histogram_edges": list(EDGES),
        "figures": ["realism_images", "realism_statistics"],
    },
    started=started,
)
