"""Measurements that compare with upstream in one run, so that a busy machine slows both sides."""
