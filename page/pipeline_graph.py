"""Layout of the picture of the pipeline: a table stands to the right of all tables that it is computed from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import networkx as nx

from schemas import graph

#: Schemas about jobs and software versions, which are not part of the picture.
LEFT_OUT = ("workers", "provenance")
#: Left out too: many tables refer to the regions, whose arrows would cross all others, and nothing to the outlines.
ATLAS = ("BrainRegion", "AtlasOutline")
#: Least width and height of a table's box, and distances of columns and rows, px. live.html draws boxes of this height.
WIDTH, HEIGHT, GAP, ROW = 90, 46, 26, 60
#: Width of a character of a name, px, in the widest of the fonts that page.css asks for.
CHARACTER = 9.0
#: Around the picture, px.
MARGIN = 8


@lru_cache(maxsize=1)
def layout() -> dict[str, Any]:
    """Return the positions of the tables and the paths of the arrows between them, in px.

    Returns
    -------
    dict
        width, height: of the picture; nodes: list of dict with name, schema, kind, width, and x, y of the upper left
        corner; edges: list of SVG paths.
    """
    schema_of = {
        cls.__name__: name for name, module in graph.modules().items() for cls, _ in module.schema.declare_list
    }
    kinds = {table.__name__: graph.kind_of(table) for table in graph.tables()}
    shown = [name for name, schema in schema_of.items() if schema not in LEFT_OUT and name not in ATLAS]
    made_from = nx.DiGraph([link for link in graph.links() if set(link) <= set(shown)])
    # also tables without any arrow
    made_from.add_nodes_from(shown)
    # without links that follow from others: an arrow from A to C says nothing if A leads to B and B to C
    chains = _through_columns(nx.transitive_reduction(made_from), shown)
    row = _rows(chains, shown)
    column = nx.get_node_attributes(chains, "column")
    widths = [max(_width(name) for name in shown if column[name] == one) for one in range(max(column.values()) + 1)]
    left = [MARGIN + sum(widths[:one]) + GAP * one for one in range(len(widths))]
    places = {name: (left[column[name]], MARGIN + ROW * row[name]) for name in chains}
    return {
        "width": left[-1] + widths[-1] + MARGIN,
        "height": max(y for _, y in places.values()) + HEIGHT + MARGIN,
        "nodes": [
            {"name": name, "schema": schema_of[name], "kind": kinds[name], "width": widths[column[name]],
             "x": places[name][0], "y": places[name][1]}
            for name in shown
        ],
        "edges": [_curve(places[a], places[b], widths[column[a]], a in kinds, b in kinds)
                  for a, b in sorted(chains.edges, key=str)],
    }  # fmt: skip


def _width(name: str) -> int:
    """Return the width of a table's box, px: its name fits in."""
    return max(WIDTH, round(CHARACTER * len(name)) + 16)


def _through_columns(direct: nx.DiGraph, shown: list[str]) -> nx.DiGraph:
    """Return the graph with every arrow split into steps from one column to the next.

    Each step on the way is a node with a row of its own, so that long arrows pass between tables and not behind them
    (layered layout, Sugiyama et al. 1981).
    """
    column = {name: number for number, names in enumerate(nx.topological_generations(direct)) for name in names}
    for name in shown:  # tables of settings stand in the column before the first table that uses them
        children = [column[child] for child in direct.successors(name)]
        if not direct.in_degree(name) and children:
            column[name] = min(children) - 1
    chains = nx.DiGraph()
    for name in shown:
        chains.add_node(name, column=column[name])
    for parent, child in sorted(direct.edges):
        between = range(column[parent] + 1, column[child])
        steps = [parent, *((parent, child, number) for number in between), child]
        # not strict: the last step is the child itself, which has its column already
        for number, step in zip(between, steps[1:], strict=False):
            chains.add_node(step, column=number)
        nx.add_path(chains, steps)
    return chains


def _rows(chains: nx.DiGraph, shown: list[str]) -> dict[Any, int]:
    """Return the row of each node, as near as possible to the mean row of its predecessors."""
    row: dict[Any, int] = {}
    columns = nx.get_node_attributes(chains, "column")
    for number in range(max(columns.values()) + 1):
        own = [name for name in chains if columns[name] == number]
        wanted = {name: _mean([row[parent] for parent in chains.predecessors(name)]) for name in own}
        taken = -1
        for name in sorted(own, key=lambda name: (wanted[name], name not in shown)):
            place = taken + 1 if wanted[name] == float("inf") else max(taken + 1, round(wanted[name]))
            row[name] = taken = place
    return row


def _mean(values: list[int]) -> float:
    """Return the mean, infinity for an empty list: such nodes are placed last."""
    return sum(values) / len(values) if values else float("inf")


def _curve(start: tuple[int, int], end: tuple[int, int], width: int, is_first: bool, is_last: bool) -> str:
    """Return one step of an arrow as an SVG path: from a table's right edge, or across a column, to the next column."""
    x, y = start[0] + width, start[1] + HEIGHT // 2
    # 5 px of space before a table
    end_x, end_y = end[0] - (5 if is_last else 0), end[1] + HEIGHT // 2
    bend = (end_x - x) // 2
    before = f"M{x},{y}" if is_first else f"M{start[0]},{y} H{x}"
    return f"{before} C{x + bend},{y} {end_x - bend},{end_y} {end_x},{end_y}"
