"""Numbers in, a verdict out: error against the float64 truth, and the words and measures for it."""
