"""How two computations of the same numbers are compared: the float64 truth, errors against it, and the verdict.

`float64` runs unmodified code in float64 throughout, `verdict` judges one output of one run, `draws` by the `rule` over
several runs where one would be luck, `nested` names the tensors in what a model returns, `repeats` tells randomness
and state from rounding. Torch and NumPy only, and nothing else of samblocks: processes that have no more than this
folder use it too.
"""
