"""Small experiments on a data set: what of an example is needed to tell its label (RECIPE D9)."""
