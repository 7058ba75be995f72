"""From a name to its code, cases, goldens, key rules and tests."""
