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

DPI = 86  # at which the figure fits a notebook beside JupyterLab's file list on a laptop's screen
MEAN = -1  # all heads, in the menu: to ipywidgets None is no choice at all
MENU = {"style": {"description_width": "3.5rem"}, "layout": {"width": "19rem"}}
WRAPPED = {"flex_flow": "row wrap"}


class ExplorerView(widgets.VBox):
    """Pick a tile, a block and a head; click a patch to look from there.

    The figure has ipympl's canvas for itself alone: no backend is switched, and other cells draw as before.

    `explorer`: what answers. `folder`: where the button writes GeoTIFFs.
    """

    def __init__(self, explorer: Explorer, folder: Path) -> None:
        self.explorer, self.folder = explorer, folder
        self.patch = (explorer.grid[0] // 2, explorer.grid[1] // 2)
        tiles = [(f"{explorer.store.tile(tile).region} {tile[:6]}", tile) for tile in explorer.tiles]
        self.tile = _menu("Tile", tiles)
        self.layer = _menu("Beside", [(layer_title(name, explorer.store.legend), name) for name in explorer.layers])
        self.origin = widgets.ToggleButtons(
            options=[("Class token", CLASS), ("Clicked patch", PATCH), ("Rollout", ROLLOUT)],
            tooltips=[
                "Where the network looks to sum the tile up",
                "Where the patch that you click looks",
                "The class token's attention followed through all blocks",
            ],
            style={"button_width": "7rem"},
        )
        last = explorer.blocks
        self.block = widgets.IntSlider(last, 1, last, description="Block", continuous_update=False, **MENU)
        heads = [(f"head {number + 1}", number) for number in range(explorer.heads)]
        self.head = _menu("Head", [("mean of all heads", MEAN), *heads])
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
            control.observe(self.draw, names="value")
        rows = [self.tile, self.layer], [widgets.Label("Look from"), self.origin], [self.block, self.head]
        menus = [widgets.HBox(row, layout=WRAPPED) for row in rows]
        super().__init__([*menus, self.canvas, self.words, widgets.HBox([self.button, self.saved])])
        self.draw()

    @property
    def look(self) -> Look:
        """What the menus and the last click ask."""
        head = None if self.head.value == MEAN else self.head.value
        return Look(self.tile.value, self.origin.value, self.block.value - 1, head, self.patch, self.layer.value)

    def draw(self, _: Any = None) -> None:
        """Show what is asked."""
        self.seen = self.explorer.see(self.look)
        draw_exploration(self.seen, self.figure)
        self.canvas.draw_idle()
        self.words.value = "<br>".join(html.escape(line) for line in self.explorer.words(self.look))
        self.saved.value = ""
        self.block.disabled = self.head.disabled = self.origin.value == ROLLOUT

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


def _menu(name: str, options: list[tuple[str, Any]]) -> Any:
    return widgets.Dropdown(options=options, value=options[0][1], description=name, **MENU)
