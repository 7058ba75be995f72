"""Proof that checkpoints cross between layouts: files of every layout and variant, there and back, bit for bit.

`routes` needs nothing but samblocks; `crossings` has upstream packages load our files and save their own.
"""
