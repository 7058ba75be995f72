"""Mutants: bugs that real people make, planted in our own modules, and the proof that the cases see each of them.

A harness is as good as what it catches. So bugs are planted one at a time, each of one line or argument; the
cases of the block are run on it, and the matrix says which of them saw it, by which gate, and which of the two
usual gates (an absolute tolerance of 1e-4, a cosine of 0.99) would have passed it.

    syntax             finds a node of a file, and puts another in its place
    mutant             one bug, as data
    table              how many are written down
    catalog/           all of them
    planting           how a process gets a bug
    reference_outputs  upstream's outputs that they are judged by
    gates              what sees a bug
    depend             which blocks rest on a file
    hunt               processes, two at a time
    matrix             the table and the JSON
"""
