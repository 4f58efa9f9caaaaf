"""A factorial experiment: which combinations of two levels are run, and what each switch does, with its interval.

A fraction of all combinations switches its last factors as products of the first ones (Box and Hunter 1961): the
generator "ABCD" stands for the product of the first four. Of resolution IV and more an effect of one factor is
confounded with none of two; effects of two may share a column, and are then told together.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError

if TYPE_CHECKING:  # a profile that is read needs neither pandas nor SciPy
    import pandas as pd

Signs = NDArray[np.int64]  # (runs, factors) -1: as in the reference, 1: switched
LEVEL = 0.95  # of intervals


def fraction(factors: int, generators: Sequence[str] = ()) -> Signs:
    """The runs of a two-level design, 2 ** (factors - generators) of them; refused below resolution IV."""
    base = ascii_uppercase[: factors - len(generators)]
    signs = np.array(list(product((-1, 1), repeat=len(base))), np.int64)
    for word in generators:
        if not word or set(word) - set(base):
            raise SardinoError(f"the generator '{word}' names other factors than {base}: use these letters")
        made = signs[:, [base.index(letter) for letter in word]].prod(1)
        signs = np.column_stack([signs, made])
    alone = {column.tobytes() for column in signs.T}
    pairs = {(signs[:, a] * signs[:, b]).tobytes() for a, b in combinations(range(factors), 2)}
    if len(alone) < factors or alone & pairs:
        raise SardinoError(f"the generators {', '.join(generators)} confound an effect of one factor: give longer ones")
    return signs


def interactions(switched: NDArray[np.number]) -> list[list[tuple[int, int]]]:
    """All pairs of factors, columns of (runs, factors); together those whose effects no response can tell apart."""
    groups: dict[bytes, list[tuple[int, int]]] = {}
    for a, b in combinations(range(switched.shape[1]), 2):
        groups.setdefault((switched[:, a] * switched[:, b]).tobytes(), []).append((a, b))
    return list(groups.values())


def effects(
    cells: "pd.DataFrame", factors: Mapping[str, Sequence[str]], response: "Sequence[float] | pd.Series"
) -> "pd.DataFrame":
    """What each switch adds to a response, by least squares: columns effect, factors (1 or 2), estimate, low, high.

    An effect of one factor is the difference to its reference, averaged over the others. One of two is how much more
    the one does where the other is switched too; it is left out where no degree of freedom would be left for the
    interval, which is Student's, of what the model does not explain: repetitions, and effects of three and more.

    Args:
        cells: a run a row; each factor's level, and the seed, whose means may differ.
        factors: names of each factor's levels, the reference first; a level that no run has is left out.
    """
    from pandas import DataFrame

    y, names = np.asarray(response, np.float64), list(factors)
    if not np.isfinite(y).all():
        raise SardinoError("a response of the experiment is not finite: look for a cell that failed")
    terms = {f"seed {seed}": cells["seed"] == seed for seed in cells["seed"].unique()}
    spent = len(terms)
    for name, levels in factors.items():
        present = [level for level in levels[1:] if (cells[name] == level).any()]
        terms |= {f"{name}: {level}, not {levels[0]}": cells[name] == level for level in present}
    alone = len(terms)
    switched = np.column_stack([(cells[name] != factors[name][0]).to_numpy() - 0.5 for name in names])
    groups = interactions(switched)
    if len(terms) + len(groups) < len(cells):
        told = [" = ".join(f"{names[a]} \N{MULTIPLICATION SIGN} {names[b]}" for a, b in group) for group in groups]
        columns = [switched[:, a] * switched[:, b] for (a, b), *_ in groups]
        terms |= dict(zip(told, columns, strict=True))
    x = np.column_stack([np.asarray(column, np.float64) for column in terms.values()])
    free = len(y) - x.shape[1]
    if free < 1 or np.linalg.matrix_rank(x) < x.shape[1]:
        raise SardinoError(f"{len(y)} runs do not tell {x.shape[1]} effects apart: run the whole design, or more seeds")
    inverse = np.linalg.inv(x.T @ x)
    found = inverse @ x.T @ y
    variance = np.square(y - x @ found).sum() / free
    half = _quantile(free) * np.sqrt(variance * np.diag(inverse))
    order = np.where(np.arange(len(found)) < alone, 1, 2)
    table = DataFrame({"effect": list(terms), "factors": order, "estimate": found, "low": found - half})
    return table.assign(high=found + half)[spent:].reset_index(drop=True)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean of runs and its interval, Student's; refused for fewer than two."""
    if len(values) < 2:
        raise SardinoError("an interval needs two runs at least: run the whole design")
    half = _quantile(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def _quantile(freedom: int) -> float:
    """Half the width of Student's interval, in standard errors."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))
