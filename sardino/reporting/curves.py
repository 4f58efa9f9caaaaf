"""Pre-training curves: the loss, and the signs of collapse that the loss hides."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from sardino.errors import SardinoError
from sardino.reporting.provenance import provenance
from sardino.reporting.style import INK, MUTED, PALETTE, WIDTH, new_figure, styled

PANELS = {
    "loss": "Loss (nats)",
    "teacher_entropy": "Teacher entropy (nats)",
    "kl": "KL(teacher || student) (nats)",
    "feature_std": "Feature standard deviation",
    "distance": "Relative distance of the\nbackbone from its start",
}
LINES = ("-", "--", "-.", ":")


@styled
def draw_pretraining(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss against ln K, teacher entropy, KL, feature spread and distance from the start, one line per arm.

    Args:
        records: of runs; those of kind "pretrain" are drawn.
    """
    chosen = [record for record in records if record["kind"] == "pretrain"]
    if not chosen:
        raise SardinoError("pre-training curves need a pre-training record: run notebook 02 first")
    figure = new_figure(WIDTH, 4.3)
    where = provenance(synthetic=bool(chosen[0]["data"]["synthetic"]))
    figure.suptitle(f"Pre-training ({where}): loss and signs of collapse")
    panels = figure.subplots(2, 3).ravel()
    for (name, label), axes in zip(PANELS.items(), panels, strict=False):
        for i, record in enumerate(chosen):
            curves = record["results"]["curves"]
            style = {"color": PALETTE[i % len(PALETTE)], "linestyle": LINES[i % len(LINES)]}
            axes.plot(curves["step"], curves[name], label=_name(record), **style)
        axes.set(xlabel="Step", ylabel=label)
        axes.grid(True)
        axes.set_axisbelow(True)
    for level in sorted({round(float(record["results"]["curves"]["ln_k"]), 6) for record in chosen}):
        for axes in panels[:2]:
            axes.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
            place = axes.get_yaxis_transform()
            axes.text(
                0.98, level, f"ln K = {level:.2f}", transform=place, ha="right", va="bottom", color=MUTED, fontsize=7
            )
            axes.set_ylim(top=max(axes.get_ylim()[1], level * 1.1))
    for axes in panels[:4]:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    _explain(panels[5], panels[0].get_legend_handles_labels())
    return figure


def _name(record: Mapping[str, Any]) -> str:
    results = record["results"]
    return f"{results['arm']} ({results['steps']} steps)"


def _explain(axes: Any, legend: tuple[list[Any], list[str]]) -> None:
    """The free panel: arms, and how to read the others."""
    axes.set_axis_off()
    axes.legend(*legend, loc="upper left", borderaxespad=0, title="Arm", alignment="left")
    text = (
        "Collapse to the uniform:\nloss and entropy stay at ln K.\n"
        "Collapse to a constant:\nloss near 0, feature spread near 0.\n"
        "No learning:\ndistance stays near 0."
    )
    axes.text(0, 0.0, text, transform=axes.transAxes, va="bottom", fontsize=7, color=INK, linespacing=1.35)
