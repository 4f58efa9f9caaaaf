"""Land-cover classes derived from an aligned optical image, for places without a reference product."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.data.tiles.landcover import IGNORE, LandCoverClass, Legend
from sardino.errors import SardinoError

# Five classes that colour alone tells apart; nobody's reference product.
DERIVED = Legend(
    "Derived from Sentinel-2 RGB",
    (
        LandCoverClass(1, "Water or deep shadow", "#1F5AA8"),
        LandCoverClass(2, "Green vegetation", "#2E8B3C"),
        LandCoverClass(3, "Bare or dry ground", "#B86B3A"),
        LandCoverClass(4, "Bright built-up or sand", "#F2E8D8"),
        LandCoverClass(5, "Grey built-up", "#8C8C96"),
    ),
    derived=True,
)

SMOOTHING_PX = 2.0  # sigma of the Gaussian taken before the rule: 8 x 8 JPEG blocks and single roofs must not decide
HAZE = (35.0, 55.0, 85.0)  # R, G, B counts of the darkest ground in 8-bit top-of-atmosphere imagery: scattered light


def derived_classes(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class index in DERIVED by a fixed rule on smoothed, haze-corrected colour; nothing is trained.

    With R, G, B after correction, v their mean and s = R + G + B + 20 (the 20 calms dark pixels), the
    first line that holds decides:

    1. water or deep shadow: v < 16, or blue, (R-B)/s < -0.12, B > G and v < 75
    2. green vegetation: (2G-R-B)/s >= 0.09, G >= B and v < 110
    3. bare or dry ground: reddish, (R-B)/s >= 0.105, or dark, v < 52; and v < 160
    4. bright built-up or sand: v >= 125
    5. grey built-up: the rest

    The thresholds were set by eye on 8-bit Sentinel-2 Level-1C images of southern California in November;
    elsewhere look at the result first. Known confusions: lakes with algae count as vegetation, dark
    chaparral as dry ground, white greenhouses as bright built-up.

    The image is (3, H, W) uint8, else a SardinoError; black is missing, IGNORE in the (H, W) result.
    """
    if rgb.ndim != 3 or rgb.shape[0] != 3 or rgb.dtype != np.uint8:
        found = f"{rgb.dtype} of shape {rgb.shape}: add an 'optical' layer of three bands to the folder's spec"
        raise SardinoError(f"derived classes need an 8-bit RGB image (3, H, W), not {found}")
    smooth = gaussian_filter(rgb.astype(np.float32), (0, SMOOTHING_PX, SMOOTHING_PX))
    red, green, blue = colour = np.maximum(smooth - np.array(HAZE, np.float32)[:, None, None], 0)
    brightness, total = colour.mean(0), colour.sum(0) + 20
    redness, greenness = (red - blue) / total, (2 * green - red - blue) / total
    rules = [
        (brightness < 16) | ((redness < -0.12) & (blue > green) & (brightness < 75)),
        (greenness >= 0.09) & (green >= blue) & (brightness < 110),
        ((redness >= 0.105) | (brightness < 52)) & (brightness < 160),
        brightness >= 125,
    ]
    classes = np.select(rules, [0, 1, 2, 3], 4).astype(np.uint8)
    classes[(rgb == 0).all(0)] = IGNORE
    return classes
