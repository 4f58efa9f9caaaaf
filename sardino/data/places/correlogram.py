"""How far backscatter stays alike: correlation by distance, of pixels inside tiles and of the means of tiles."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.distance import pdist

from sardino.errors import SardinoError

_FEWEST_PAIRS = 30


@dataclass(frozen=True)
class Correlogram:
    """Correlation by distance, (N,) each."""

    distance_m: NDArray[np.float64]  # ascending, from 0 where pixels are compared
    correlation: NDArray[np.float64]
    pairs: NDArray[np.float64]  # number of pairs behind each value

    def length_m(self, level: float) -> float | None:
        """Distance at which correlation first falls below a level, between two values in proportion; None if never."""
        below = np.flatnonzero(self.correlation < level)
        if not len(below):
            return None
        n = int(below[0])
        if n == 0:
            return float(self.distance_m[0])
        (near, far), (high, low) = self.distance_m[n - 1 : n + 1], self.correlation[n - 1 : n + 1]
        return float(near + (high - level) / (high - low) * (far - near))


def pixel_correlogram(images_db: Iterable[NDArray[np.floating]], gsd_m: float) -> Correlogram:
    """Correlation of pixels by distance, all directions together, over all images.

    By the Wiener-Khinchin theorem on padded images; missing pixels take part in no pair. All images share one mean
    and one variance, so that what differs from image to image counts as correlation inside each.

    Args:
        images_db: (H, W) of one size, dB with NaN; not constant, and with at least one finite pixel in all.

    Returns:
        distances from 0 in steps of a pixel up to half the shorter side.
    """
    total = squares = count = 0.0
    sums: list[NDArray[np.float64]] = []
    shape: tuple[int, ...] = ()
    for image in images_db:
        if image.ndim != 2 or (shape and image.shape != shape):
            raise SardinoError(f"autocorrelation needs images (H, W) of one size, not {image.shape} after {shape}")
        shape = image.shape
        padded = [fft.next_fast_len(2 * side - 1, real=True) for side in shape]
        known = np.isfinite(image)
        values = np.where(known, image, 0.0).astype(np.float64)
        total, squares, count = total + values.sum(), squares + (values**2).sum(), count + known.sum()
        spectrum, mask = fft.rfft2(values, padded), fft.rfft2(known.astype(np.float64), padded)
        parts = [fft.irfft2(s, padded) for s in (np.abs(spectrum) ** 2, np.abs(mask) ** 2, np.conj(spectrum) * mask)]
        sums = [before + part for before, part in zip(sums, parts, strict=True)] if sums else parts
    if count < 2:
        raise SardinoError("autocorrelation needs at least one image with finite pixels")
    product, overlap, left = sums
    mean = total / count
    variance = squares / count - mean**2
    if variance <= 1e-12 * max(1.0, mean**2):
        raise SardinoError("the images are constant: they have no correlation")
    # Sum of (z - m)(z' - m) over pairs at a lag = sum z z' - m (sum z + sum z') + m^2 pairs; both ends by symmetry.
    both = left + np.roll(np.flip(left), (1, 1), (0, 1))
    covariance = product - mean * both + mean**2 * overlap
    lags = [np.minimum(np.arange(n), n - np.arange(n)) for n in covariance.shape]
    reach = np.hypot(lags[0][:, None], lags[1][None, :])
    farthest = min(shape) // 2
    ring = np.round(reach).astype(np.int64)
    inside = (ring <= farthest) & (lags[0] < shape[0])[:, None] & (lags[1] < shape[1])[None, :]
    weights = np.round(overlap[inside]), covariance[inside], reach[inside] * np.round(overlap[inside])
    at = np.stack([np.bincount(ring[inside], weight, farthest + 1) for weight in weights])
    pairs, covariance_at, distance = at[:, at[0] > 0]
    return Correlogram(distance / pairs * gsd_m, covariance_at / pairs / variance, pairs)


def mean_correlogram(
    means_db: NDArray[np.floating], places: NDArray[np.floating], groups: NDArray[np.object_], bins: int = 24
) -> Correlogram | None:
    """Correlation of tile means by distance between tile centres.

    Args:
        means_db: (N,) dB, NaN for a tile to leave out.
        places: (N, 3) metres, on the earth.
        groups: (N,) region of each tile; each is compared with its own mean, and no pair joins two.
        bins: number of distances, equally wide, up to half the largest distance inside a region.

    Returns:
        correlations of distances with at least 30 pairs; None where there are none.
    """
    distances, products, squares = [], [], []
    for group in dict.fromkeys(groups):
        rows = (groups == group) & np.isfinite(means_db) & np.isfinite(places).all(axis=1)
        if rows.sum() < 3:
            continue
        residual = means_db[rows] - means_db[rows].mean()
        first, second = np.triu_indices(len(residual), 1)
        distances.append(pdist(places[rows]))
        products.append(residual[first] * residual[second])
        squares.append(residual**2)
    if not distances or not np.concatenate(squares).sum() > 0:
        return None
    distance, product = np.concatenate(distances), np.concatenate(products)
    place = np.minimum((distance / (distance.max() / 2 / bins)).astype(np.int64), bins)
    at = np.stack([np.bincount(place, weight, bins + 1)[:bins] for weight in (np.ones(len(place)), distance, product)])
    pairs, distance_at, product_at = at[:, at[0] >= _FEWEST_PAIRS]
    variance = np.concatenate(squares).mean()
    return Correlogram(distance_at / pairs, product_at / pairs / variance, pairs) if len(pairs) else None
