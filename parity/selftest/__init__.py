"""Who judges the judge: planted bugs that must be seen, honest variations that must not."""
