"""A bench as one self-contained page: charts in the text, then every table."""

import html
from collections.abc import Iterable, Iterator

from parity.bench.report import Report
from parity.reports.bench import charts, tables, words

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
td, th { border: 1px solid #ccc; padding: 0.2rem 0.6rem; text-align: left; }
th { background: #f3f3f3; }
svg { max-width: 100%; height: auto; margin: 0.5rem 0; }
"""


def page(report: Report) -> str:
    """The page as text; nothing in it is fetched from anywhere."""
    drawn = [
        chart
        for threads in report.environment["threads"]
        for chart in (charts.ratios(report, threads), charts.memory(report, threads))
    ]
    drawn += charts.growth(report)
    body = [
        "<h1>samblocks beside its peers</h1>",
        f"<p>{html.escape(words.header(report))}.</p>",
        f"<p>{html.escape(words.MANNER)}</p>",
        *(chart for chart in drawn if chart),
        *_tables(list(tables.lines(report))[1:]),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>samblocks: bench</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _tables(lines: Iterable[str]) -> Iterator[str]:
    """Tables and sentences in Markdown as HTML."""
    open_table = False
    for line in (part for text in lines for part in text.split("\n")):
        table = line.startswith("|")
        if open_table and not table:
            yield "</table>"
        if table and set(line) <= set("|-"):
            continue
        if table:
            kind = "td" if open_table else "th"
            cells = "".join(
                f"<{kind}>{html.escape(cell.strip())}</{kind}>" for cell in line.strip("|").split("|")
            )
            yield f"{'' if open_table else '<table>'}<tr>{cells}</tr>"
        elif line:
            yield f"<p>{html.escape(line)}</p>"
        open_table = table
    if open_table:
        yield "</table>"
