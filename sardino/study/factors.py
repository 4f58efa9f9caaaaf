"""The factors of a factorial experiment, as a profile declares them."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sardino.dino.recipe import Physics
from sardino.errors import SardinoError
from sardino.evaluation.factorial import Signs, fraction
from sardino.options import Count, Options


class Level(Options):
    """One of the states of a factor: what is given instead of the first arm's own."""

    name: str
    recipe: dict[str, float | int | bool | list[float]] = Field(default_factory=dict)  # fields of the recipe
    physics: Physics = Physics()
    patch: Count | None = None
    steps: Count | None = None
    stored: Literal["db", "whole-db", "byte-db"] = "db"  # the input, as sardino.data.sources.archives knows it


class Factor(Options):
    """What is switched. Of three levels and more, the repetitions take turns in those that are not the reference."""

    name: str
    levels: Annotated[list[Level], Field(min_length=2)]  # the reference first

    @property
    def names(self) -> list[str]:
        """Of the levels."""
        return [level.name for level in self.levels]


class Factorial(Options):
    """A fraction of all combinations of the factors, run with each repetition of the profile's `percent` of labels."""

    percent: float
    factors: Annotated[list[Factor], Field(min_length=1)]
    generators: list[str] = Field(default_factory=list)  # of the last factors: see sardino.evaluation.factorial

    @model_validator(mode="after")
    def _tells_effects_apart(self) -> "Factorial":
        try:
            fraction(len(self.factors), self.generators)
        except SardinoError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def signs(self) -> Signs:
        """The runs of a repetition, (runs, factors): 1 where a factor is switched, else -1."""
        return fraction(len(self.factors), self.generators)

    @property
    def combinations(self) -> int:
        """How many there are of all levels."""
        return math.prod(len(factor.levels) for factor in self.factors)

    def cells(self, repetition: int) -> list[tuple[Level, ...]]:
        """The level of each factor in all runs of a repetition."""
        other = [factor.levels[1 + repetition % (len(factor.levels) - 1)] for factor in self.factors]
        pairs = [(factor.levels[0], level) for factor, level in zip(self.factors, other, strict=True)]
        return [tuple(pair[sign > 0] for pair, sign in zip(pairs, run, strict=True)) for run in self.signs.tolist()]
