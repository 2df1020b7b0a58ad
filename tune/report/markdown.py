"""report.md of a sweep."""

from __future__ import annotations

import shlex

from tune.report.compared import over_seeds, paired, published
from tune.report.content import WholeSweep, facts, notes, short, warnings

__all__ = ["markdown"]


def markdown(sweep: WholeSweep, rows: list[dict[str, object]]) -> str:
    lines = [f"# Sweep {sweep.run.name}", ""]
    lines += [f"- {text}: {value}" for value, text in facts(sweep)]
    lines += ["", *(f"**{warning}**\n" for warning in warnings(sweep)), *(note + "\n" for note in notes(sweep))]
    if sweep.scored:
        best = sweep.scored[0]
        lines += [
            f"## Best: {sweep.label(best)}",
            "",
            f"    python -m dmgan.launch --config {shlex.quote(sweep.run.path('best.yaml'))}",
            "",
        ]
        lines += [f"- `{key}`: {short(value)}" for key, value in best.values.items()]
    if rows:
        lines += ["", "## Trials", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        lines += ["| " + " | ".join(short(value).replace("|", "/") for value in row.values()) + " |" for row in rows]
    tables = {"Over seeds": over_seeds(sweep), "Differences by seed": paired(sweep), "Published": published(sweep)}
    for title, table in tables.items():
        if table is not None:
            lines += [
                "",
                f"## {title}",
                "",
                "| " + " | ".join(map(str, table.columns)) + " |",
                "|" + "---|" * len(table.columns),
            ]
            lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines) + "\n"
