"""Numbers from predictions: confusion matrices, scores, intervals, probes."""
