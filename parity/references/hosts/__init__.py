"""Other libraries' own drivers, run before and after a swap: the live proof of `samblocks.swap`.

Everything here runs in the references' environment, in a process that `parity.swap.drive` starts.
"""
