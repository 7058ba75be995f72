"""Rows for people and machines: terminal, HTML, JUnit, SARIF, annotations, charts."""
