"""The time of a run at the paper's size, shared out among its stages."""

import time

import psutil

SHARES = {"pretrain-europe": 14, "pretrain-all": 32, "pretrain-europe-paper": 5, "cells": 49}
"""How the time left after data and probes is shared out."""
RESERVE_S = 12.0
"""Kept for the last tables."""


class Clock:
    """Time left of the run, counted from the start of the process."""

    def __init__(self, minutes: float) -> None:
        self.end = psutil.Process().create_time() + 60 * minutes - RESERVE_S
        self.shares = dict(SHARES)

    def left(self) -> float:
        """Seconds."""
        return self.end - time.time()

    def budget(self, stage: str) -> float:
        """Seconds for a stage, taken once: its share of what is left, beside the stages still to come."""
        total = sum(self.shares.values())
        return max(0.0, self.left()) * self.shares.pop(stage) / total
