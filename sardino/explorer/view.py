"""The explorer in JupyterLab: menus above, a figure that answers clicks, words below."""

import html
import os
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from ipympl.backend_nbagg import Canvas, FigureManager

from sardino.errors import SardinoError
from sardino.explorer.answers import CLASS, PATCH, ROLLOUT, Explorer, Look
from sardino.reporting.figures.exploration import draw_exploration, empty_figure, layer_title, patch_at

DPI = 86
"""At which the figure fits a notebook beside JupyterLab's file list on a laptop's screen."""
MEAN = -1
"""All heads, in the menu: to ipywidgets None is no choice at all."""
WIDE = {"description_width": "3.5rem"}


class ExplorerView(widgets.VBox):
    """Pick a tile, a block and a head; click a patch to look from there.

    The figure has ipympl's canvas for itself alone: no backend is switched, and other cells draw as before.

    Args:
        explorer: what answers.
        folder: where the button writes GeoTIFFs.
    """

    def __init__(self, explorer: Explorer, folder: Path) -> None:
        self.explorer, self.folder = explorer, folder
        self.patch = (explorer.grid[0] // 2, explorer.grid[1] // 2)
        self.tile = _menu("Tile", [(_tile_name(explorer, tile), tile) for tile in explorer.tiles], "19rem")
        layers = [(layer_title(name, explorer.store.legend), name) for name in explorer.layers]
        self.layer = _menu("Beside", layers, "19rem")
        self.origin = widgets.ToggleButtons(
            options=[("Class token", CLASS), ("Clicked patch", PATCH), ("Rollout", ROLLOUT)],
            tooltips=[
                "Where the network looks to sum the tile up",
                "Where the patch that you click looks",
                "The class token's attention followed through all blocks",
            ],
            style={"button_width": "7rem"},
        )
        self.block = widgets.IntSlider(
            explorer.blocks,
            1,
            explorer.blocks,
            description="Block",
            continuous_update=False,
            style=WIDE,
            layout={"width": "19rem"},
        )
        heads = [("mean of all heads", MEAN), *((f"head {number + 1}", number) for number in range(explorer.heads))]
        self.head = _menu("Head", heads, "19rem")
        self.words = widgets.HTML()
        self.button = widgets.Button(description="Save maps as GeoTIFF", icon="download", layout={"width": "14rem"})
        self.saved = widgets.HTML()
        self.figure = empty_figure(DPI)
        self.canvas = Canvas(self.figure)
        self.manager = FigureManager(self.canvas, 0)
        self.canvas.toolbar_visible = self.canvas.header_visible = self.canvas.footer_visible = False
        self.canvas.resizable = False
        self.canvas.mpl_connect("button_press_event", self._clicked)
        self.button.on_click(self._save)
        for control in (self.tile, self.layer, self.origin, self.block, self.head):
            control.observe(self._changed, names="value")
        super().__init__(
            [
                widgets.HBox([self.tile, self.layer], layout=WRAPPED),
                widgets.HBox([widgets.Label("Look from"), self.origin], layout=WRAPPED),
                widgets.HBox([self.block, self.head], layout=WRAPPED),
                self.canvas,
                self.words,
                widgets.HBox([self.button, self.saved]),
            ]
        )
        self.draw()

    @property
    def look(self) -> Look:
        """What the menus and the last click ask."""
        head = None if self.head.value == MEAN else self.head.value
        return Look(self.tile.value, self.origin.value, self.block.value - 1, head, self.patch, self.layer.value)

    def draw(self) -> None:
        """Show what is asked."""
        self.seen = self.explorer.see(self.look)
        draw_exploration(self.seen, self.figure)
        self.canvas.draw_idle()
        self.words.value = "<br>".join(html.escape(line) for line in self.explorer.words(self.look))
        self.saved.value = ""
        self.block.disabled = self.head.disabled = self.origin.value == ROLLOUT

    def _changed(self, _: Any) -> None:
        self.draw()

    def _clicked(self, event: Any) -> None:
        """A click on any panel looks from the patch there."""
        if event.inaxes not in self.figure.axes[:3]:
            return
        self.patch = patch_at(event.xdata, event.ydata, self.seen)
        if self.origin.value == PATCH:
            self.draw()
        else:
            self.origin.value = PATCH  # which draws

    def _save(self, _: Any) -> None:
        try:
            said = f"written: {os.path.relpath(self.explorer.save(self.look, self.folder))}"
        except (SardinoError, OSError) as error:
            said = f"not written: {error}"
        self.saved.value = html.escape(said)


WRAPPED = {"flex_flow": "row wrap"}


def _menu(name: str, options: list[tuple[str, Any]], width: str) -> Any:
    return widgets.Dropdown(options=options, value=options[0][1], description=name, style=WIDE, layout={"width": width})


def _tile_name(explorer: Explorer, tile: str) -> str:
    return f"{explorer.store.tile(tile).region} {tile[:6]}"
