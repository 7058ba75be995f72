"""What adapters share: renamed arguments, patched constants, missing operators."""
