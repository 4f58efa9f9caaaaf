"""The explorer in JupyterLab: menus, a figure that answers clicks, words, and a map of all there is to look at."""

import html
import os
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from ipympl.backend_nbagg import Canvas, FigureManager
from matplotlib.figure import Figure

from sardino.errors import SardinoError
from sardino.explorer.answers import ALIKE, CLASS, PATCH, ROLLOUT, Explorer, Look
from sardino.reporting.figures.exploration import draw_exploration, empty_figure, layer_title, patch_at

DPI = 86  # at which the figure fits a notebook beside JupyterLab's file list on a laptop's screen
MEAN = -1  # all heads, in the menu: to ipywidgets None is no choice at all
MENU = {"style": {"description_width": "3.5rem"}, "layout": {"width": "19rem"}}
WRAPPED = {"flex_flow": "row wrap"}


class ExplorerView(widgets.VBox):
    """Pick a place on the map or by its name, a block and a head; click a patch to look from there.

    The figures have ipympl's canvas for themselves alone: no backend is switched, and other cells draw as before.

    `explorer`: what answers. `folder`: where the button writes GeoTIFFs.
    """

    def __init__(self, explorer: Explorer, folder: Path) -> None:
        self.explorer, self.folder, self.place = explorer, folder, explorer.places.first
        self.patch = (explorer.grid[0] // 2, explorer.grid[1] // 2)
        legend, layers = explorer.places.legend, explorer.places.layers
        self.layer = _menu("Beside", [(layer_title(name, legend), name) for name in layers])
        self.origin = widgets.ToggleButtons(
            options=[("Class token", CLASS), ("Clicked patch", PATCH), ("Alike", ALIKE), ("Rollout", ROLLOUT)],
            tooltips=[
                "Where the network looks to sum the place up",
                "Where the patch that you click looks",
                "Where tokens of the last block are like the token of the patch that you click",
                "The class token's attention followed through all blocks",
            ],
            style={"button_width": "7rem"},
        )
        last = explorer.blocks
        self.block = widgets.IntSlider(last, 1, last, description="Block", continuous_update=False, **MENU)
        heads = [(f"head {number + 1}", number) for number in range(explorer.heads)]
        self.head = _menu("Head", [("mean of all heads", MEAN), *heads])
        self.find = widgets.Text(description="Find", placeholder=explorer.places.asks, continuous_update=False, **MENU)
        self.words = widgets.HTML()
        self.button = widgets.Button(description="Save maps as GeoTIFF", icon="download", layout={"width": "14rem"})
        self.saved = widgets.HTML()
        self.figure, self.overview = empty_figure(DPI), explorer.places.overview()
        self.overview.set_dpi(DPI)
        self.canvas, self.chooser = _canvas(self.figure), _canvas(self.overview)
        self.canvas.mpl_connect("button_press_event", self._clicked)
        self.chooser.mpl_connect("button_press_event", self._chosen)
        self.button.on_click(self._save)
        self.find.observe(self._found, names="value")
        for control in (self.layer, self.origin, self.block, self.head):
            control.observe(self.draw, names="value")
        rows = [self.find, self.layer], [widgets.Label("Look from"), self.origin], [self.block, self.head]
        menus = [widgets.HBox(row, layout=WRAPPED) for row in rows]
        super().__init__([*menus, self.canvas, self.words, widgets.HBox([self.button, self.saved]), self.chooser])
        self.go_to(self.place)

    @property
    def look(self) -> Look:
        """What the menus and the last clicks ask."""
        head = None if self.head.value == MEAN else self.head.value
        return Look(self.place, self.origin.value, self.block.value - 1, head, self.patch, self.layer.value)

    def draw(self, _: Any = None) -> None:
        """Show what is asked."""
        self.seen = self.explorer.see(self.look)
        draw_exploration(self.seen, self.figure)
        self.canvas.draw_idle()
        self.words.value = "<br>".join(html.escape(line) for line in self.explorer.words(self.look))
        self._tell("")
        self.block.disabled = self.head.disabled = self.look.one_map

    def go_to(self, place: str) -> None:
        """Show another place, and where it lies; one that cannot be read is told, and the last one stays."""
        try:
            self.explorer.read(place)
        except SardinoError as error:
            self._tell(str(error))
            return
        self.place = place
        self.draw()
        for axes in self.overview.axes:
            for line in list(axes.lines):
                line.remove()
        if outline := self.explorer.places.outline(place):
            panel, corners = outline
            # White round black, as the frame of a patch; a line is seen where the tile is smaller than a dot.
            for colour, width in (("white", 5), ("black", 2)):
                self.overview.axes[panel].plot(*corners.T, color=colour, linewidth=width, scalex=False, scaley=False)
        self.chooser.draw_idle()

    def _clicked(self, event: Any) -> None:
        """A click on any panel looks from the patch there."""
        if event.inaxes not in self.figure.axes[:3]:
            return
        self.patch = patch_at(event.xdata, event.ydata, self.seen)
        if self.look.origin in (PATCH, ALIKE):
            self.draw()
        else:
            self.origin.value = PATCH  # which draws

    def _chosen(self, event: Any) -> None:
        """A click on the map of all goes to the place there."""
        panels = self.overview.axes
        if event.inaxes in panels:
            place = self.explorer.places.at(panels.index(event.inaxes), event.xdata, event.ydata)
            if place is not None:
                self.go_to(place)

    def _found(self, change: Any) -> None:
        """What was typed goes to the first place that is meant."""
        if not change["new"].strip():
            return
        try:
            found = self.explorer.places.find(change["new"])
        except SardinoError as error:
            self._tell(str(error))
            return
        self.go_to(found[0])
        if len(found) > 1:
            self._tell(f"{len(found)} are meant: this is the first")

    def _save(self, _: Any) -> None:
        try:
            said = f"written: {os.path.relpath(self.explorer.save(self.look, self.folder))}"
        except (SardinoError, OSError) as error:
            said = f"not written: {error}"
        self._tell(said)

    def _tell(self, sentence: str) -> None:
        self.saved.value = html.escape(sentence)


def _canvas(figure: Figure) -> Any:
    canvas = Canvas(figure)
    canvas.manager = FigureManager(canvas, 0)
    canvas.toolbar_visible = canvas.header_visible = canvas.footer_visible = False
    canvas.resizable = False
    return canvas


def _menu(name: str, options: list[tuple[str, Any]]) -> Any:
    return widgets.Dropdown(options=options, value=options[0][1], description=name, **MENU)
