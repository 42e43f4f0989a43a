"""Strongly connected components: which tables refer to one another in circles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def components(graph: Mapping[int, Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the components, each after all that it points to (Tarjan's algorithm, without recursion).

    Args:
        graph: for each node the nodes that it points to.
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[tuple[int, ...]] = []
    for root in graph:
        work = [(root, iter(graph[root]))] if root not in index else []
        while work:
            node, targets = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            target = next(targets, None)
            if target is not None:
                if target not in index:
                    work.append((target, iter(graph[target])))
                elif target in on_stack:
                    low[node] = min(low[node], index[target])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == index[node]:
                at = stack.index(node)
                found.append(tuple(stack[at:]))
                on_stack.difference_update(stack[at:])
                del stack[at:]
    return found
