"""Places for the tables on a picture of the pipeline: what is made from something stands to the right of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import networkx as nx

from schemas import graph

#: Schemas that say how the rest is run.
LEFT_OUT = ("workers", "provenance")
#: A table that nearly all cells name, and whose arrows would cross everything.
ATLAS = "BrainRegion"
WIDTH, HEIGHT, COLUMN, ROW = 130, 46, 158, 60
MARGIN = 8


@lru_cache(maxsize=1)
def layout() -> dict[str, Any]:
    """Return the tables with their corners, and the arrows between them, in px.

    Returns
    -------
    dict
        width, height; node_width; nodes: list of name, schema, kind, x, y; edges: list of the path of an SVG arrow.
    """
    schema_of = {
        cls.__name__: name for name, module in graph.modules().items() for cls, _ in module.schema.declare_list
    }
    kinds = {table.__name__: graph.kind_of(table) for table in graph.tables()}
    shown = [name for name, schema in schema_of.items() if schema not in LEFT_OUT and name != ATLAS]
    made_from = nx.DiGraph([link for link in graph.links() if set(link) <= set(shown)])
    made_from.add_nodes_from(shown)
    chains = _through_columns(nx.transitive_reduction(made_from), shown)
    row = _rows(chains, shown)
    places = {name: (MARGIN + COLUMN * chains.nodes[name]["column"], MARGIN + ROW * row[name]) for name in chains}
    return {
        "width": max(x for x, _ in places.values()) + WIDTH + MARGIN,
        "height": max(y for _, y in places.values()) + HEIGHT + MARGIN,
        "node_width": WIDTH,
        "nodes": [
            {"name": name, "schema": schema_of[name], "kind": kinds[name], "x": places[name][0], "y": places[name][1]}
            for name in shown
        ],
        "edges": [_curve(places[a], places[b], a in kinds, b in kinds) for a, b in sorted(chains.edges, key=str)],
    }  # fmt: skip


def _through_columns(direct: nx.DiGraph, shown: list[str]) -> nx.DiGraph:
    """Return the graph with every arrow cut into steps from one column to the next, so that it passes by the tables."""
    column = {name: number for number, names in enumerate(nx.topological_generations(direct)) for name in names}
    for name in shown:  # settings stand just before what is made with them
        children = [column[child] for child in direct.successors(name)]
        if not direct.in_degree(name) and children:
            column[name] = min(children) - 1
    chains = nx.DiGraph()
    for name in shown:
        chains.add_node(name, column=column[name])
    for parent, child in sorted(direct.edges):
        between = range(column[parent] + 1, column[child])
        steps = [parent, *((parent, child, number) for number in between), child]
        for number, step in zip(between, steps[1:], strict=False):
            chains.add_node(step, column=number)
        nx.add_path(chains, steps)
    return chains


def _rows(chains: nx.DiGraph, shown: list[str]) -> dict[Any, int]:
    """Return the row of each table, and of each arrow on its way, near those that it comes from."""
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
    return sum(values) / len(values) if values else float("inf")


def _curve(start: tuple[int, int], end: tuple[int, int], is_first: bool, is_last: bool) -> str:
    """Return a step of an arrow, as a path of SVG: from the right of a table, or through its column, to the next."""
    x, y = start[0] + WIDTH, start[1] + HEIGHT // 2
    end_x, end_y = end[0] - (5 if is_last else 0), end[1] + HEIGHT // 2
    bend = (end_x - x) // 2
    before = f"M{x},{y}" if is_first else f"M{start[0]},{y} H{x}"
    return f"{before} C{x + bend},{y} {end_x - bend},{end_y} {end_x},{end_y}"
