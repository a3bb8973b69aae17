"""Space: the scales of hyperparameters, what `kerasbn tune` draws, and a look at it beforehand."""
