"""parity: proof, block by block, that two implementations compute the same numbers.

    fill        the value of a tensor follows from its name and shape alone
    case        what is compared: constructor arguments, inputs, one small function run on both sides
    cases/      the frozen cases, one file a family, and a sentence on what each pins
    execute     runs one case on one library in one precision
    lift        upstream code, unmodified, in true float64
    references/ upstream packages, each in a worker process of its own environment
    compare     error against the float64 truth, and the verdict
    runner      cases × references × precisions
    report      the table for people, the JSON for machines

`python -m parity --help` shows the commands.
"""
