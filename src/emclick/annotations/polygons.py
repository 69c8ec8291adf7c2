"""Masks to polygons and back, to the bit.

Polygons run along the edges of the pixels: pixel (0, 0) covers [0, 1] x [0, 1], vertices lie at pixel
corners, x in [0, W], y in [0, H]. A pixel is inside where its centre is, by the even-odd rule. So
`fill(rings(island), hw)` is the mask itself, and a shift by half a pixel cannot creep in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from emclick.annotations.errors import AnnotationError

Mask = NDArray[np.bool_]
Ring = NDArray[np.int32]
"""(N, 2) int32, the x, y of pixel corners; closed, the first vertex is not repeated."""

Points = NDArray[np.float64]
"""(N, 2) float64, x, y of a polygon from elsewhere."""

MAX_CROSSINGS = 200_000_000
"""Edges times rows that `fill` works through before it refuses a polygon."""

_CHUNK = 4_000_000


@dataclass(frozen=True)
class Island:
    """One part of a mask: its outer ring, clockwise as seen, and its holes, counter-clockwise."""

    outer: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def rings(self) -> list[Ring]:
        """The outer ring, then the holes."""
        return [self.outer, *self.holes]


# --- masks to polygons ----------------------------------------------------------------------------------


def trace(mask: Mask) -> list[Island]:
    """The islands of an (H, W) mask, from the top left on; pixels that share a corner are one island.

    Rings follow the pixels' edges exactly. Where two pixels of an island, or of its background, meet at
    a corner, a ring may pass that corner twice.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    _, labels = cv2.connectedComponents(part.view(np.uint8), connectivity=8)
    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring in _loops(part):
        x, y = ring[0]  # the topmost, then leftmost vertex
        inside = int(
            labels[y + 1, x + 1]
        )  # `part` is padded: corner (x, y) has pixel [y + 1, x + 1] below right
        shifted = ring + np.array([left, top], np.int32)
        if inside:
            outer[inside] = shifted
        else:
            holes.setdefault(int(labels[y, x + 1]), []).append(np.roll(shifted[::-1], 1, axis=0))
    return [Island(ring, tuple(holes.get(label, ()))) for label, ring in outer.items()]


def _loops(part: Mask) -> list[Ring]:
    """Closed rings along all edges of a padded mask, each from its topmost, then leftmost corner, going right.

    A corner is where an edge turns; along each row, and along each column, corners pair up to edges.
    A corner with object on one diagonal only is two, joined so that the object stays connected.
    """
    a, b, c, d = part[:-1, :-1], part[:-1, 1:], part[1:, :-1], part[1:, 1:]
    crossed = (a == d) & (b == c) & (a != b)
    ys, xs = np.nonzero((a ^ b ^ c ^ d) | crossed)
    twice = crossed[ys, xs]
    falling = a[ys, xs]  # object at the upper left and lower right
    copies = np.where(twice, 2, 1)
    second = np.concatenate(([0], np.cumsum(copies)))[:-1] + 1
    ys, xs, falling = (np.repeat(values, copies) for values in (ys, xs, falling))
    rank = np.zeros(ys.size, np.int8)  # of the two at a crossing, the one that takes the edge above is 0
    rank[second[twice]] = 1
    both = np.repeat(twice, copies) & falling
    rank[both] ^= 1
    order = np.lexsort((rank, ys, xs))
    partner = np.empty(ys.size, np.int64)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    below = partner.tolist()
    corners = np.stack([xs, ys], axis=1).astype(np.int32)
    seen = bytearray(len(below))
    loops: list[Ring] = []
    for start in range(0, len(below), 2):
        if seen[start]:
            continue
        walk: list[int] = []
        here = start
        while not seen[here]:
            across = here ^ 1
            seen[here] = seen[across] = 1
            walk += (here, across)
            here = below[across]
        loops.append(corners[walk])
    return loops


def simplify(island: Island, tolerance_px: float) -> Island | None:
    """The island with fewer vertices, none of its edges moved by more than `tolerance_px`; 0 changes nothing.

    Holes that vanish are left out; None if the island itself does.
    """
    if tolerance_px <= 0:
        return island
    outer, *holes = (
        cv2.approxPolyDP(ring, tolerance_px, True)[:, 0, :].astype(np.int32) for ring in island.rings
    )
    if len(outer) < 3:
        return None
    return Island(outer, tuple(hole for hole in holes if len(hole) >= 3))


# --- one ring of many -----------------------------------------------------------------------------------


def join(rings: Sequence[Ring]) -> Ring:
    """One ring that says the same as `rings` by the even-odd rule, for formats without holes or parts.

    The rings are joined by bridges, there and back along the same line between near vertices, which
    enclose nothing.
    """
    if len(rings) == 1:
        return rings[0]
    children = _bridges(rings)
    out: list[Ring] = []
    stack = [(0, 0, 0)]  # ring, the vertex it is entered at, vertices done; -1: only that vertex, once more
    while stack:
        ring, start, done = stack.pop()
        size = len(rings[ring])
        vertex = (start + max(done, 0)) % size
        if done < size or ring:
            out.append(rings[ring][vertex])
        if 0 <= done < size:
            stack.append((ring, start, done + 1))
            for child, entry in children.get((ring, vertex), ()):
                stack += ((ring, vertex, -1), (child, entry, 0))
    path = np.array(out, np.int32)
    return path[(path != np.roll(path, 1, axis=0)).any(axis=1)]


def _bridges(rings: Sequence[Ring]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """(ring, vertex) -> the (ring, vertex) that hang from it: a spanning tree of short bridges from ring 0.

    Candidates are the vertices whose Voronoi cells touch, so the work grows with the area and not with
    the square of the vertices.
    """
    ring_of = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    index_of = np.concatenate([np.arange(len(ring)) for ring in rings])
    points = np.concatenate(rings).astype(np.int64)
    points -= points.min(axis=0)
    width, height = (int(side) + 1 for side in points.max(axis=0))
    grid = np.ones((height, width), np.uint8)
    xs, ys = points.T
    grid[ys, xs] = 0
    _, cells = cv2.distanceTransformWithLabels(grid, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(cells, np.int32)
    owner_of_label = np.zeros(int(labels.max()) + 1, np.int64)
    owner_of_label[labels[ys, xs]] = np.arange(len(points))
    ring_grid = ring_of.astype(np.int32)[owner_of_label][labels]
    keys = ys * width + xs
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]  # vertices on the same corner, of which the grid shows one
    pairs = [np.stack([order[1:][same], order[:-1][same]], axis=1)]
    for ahead, behind in (
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
        (slice(1, None), slice(-1)),
    ):
        border = ring_grid[ahead] != ring_grid[behind]
        pairs.append(owner_of_label[np.stack([labels[ahead][border], labels[behind][border]], axis=1)])
    pairs = np.unique(np.concatenate(pairs), axis=0)
    lengths = ((points[pairs[:, 0]] - points[pairs[:, 1]]) ** 2).sum(axis=1)
    pairs = pairs[np.argsort(lengths, kind="stable")]
    near: dict[int, list[tuple[int, int, int]]] = {}
    for first, second in pairs[_spanning_tree(ring_of[pairs], len(rings))].tolist():
        for here, there in ((first, second), (second, first)):
            near.setdefault(int(ring_of[here]), []).append(
                (int(index_of[here]), int(ring_of[there]), int(index_of[there]))
            )
    children: dict[tuple[int, int], list[tuple[int, int]]] = {}
    reached, todo = {0}, [0]
    while todo:
        ring = todo.pop()
        for vertex, other, entry in near.get(ring, ()):
            if other not in reached:
                reached.add(other)
                todo.append(other)
                children.setdefault((ring, vertex), []).append((other, entry))
    return children


def _spanning_tree(pairs: NDArray[np.int64], count: int) -> list[int]:
    """Which of the edges, shortest first, make a tree of `count` nodes (Kruskal)."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    chosen: list[int] = []
    for position, (first, second) in enumerate(pairs.tolist()):
        a, b = root(first), root(second)
        if a != b:
            parent[a] = b
            chosen.append(position)
            if len(chosen) == count - 1:
                break
    return chosen


# --- polygons to masks ----------------------------------------------------------------------------------


def fill(rings: Iterable[NDArray[np.int32] | Points], size_hw: tuple[int, int]) -> Mask:
    """(H, W) bool: the pixels whose centres lie in an odd number of `rings`.

    Args:
        rings: polygons as (N, 2) x, y; finite, may reach outside the image. Fewer than 3 vertices enclose nothing.
        size_hw: (H, W) of the mask.

    Raises:
        AnnotationError: more edges than can be worked through.
    """
    height, width = size_hw
    mask = np.zeros(size_hw, np.bool_)
    closed = [np.asarray(ring, np.float64) for ring in rings if len(ring) >= 3]
    if not closed:
        return mask
    every = np.concatenate(closed)
    left, top = np.clip(np.floor(every.min(axis=0)), 0, (width, height)).astype(np.int64).tolist()
    right, bottom = np.clip(np.ceil(every.max(axis=0)), 0, (width, height)).astype(np.int64).tolist()
    if left >= right or top >= bottom:
        return mask
    mask[top:bottom, left:right] = _fill_box(closed, left, top, right - left, bottom - top)
    return mask


def _fill_box(rings: Sequence[Points], left: int, top: int, width: int, height: int) -> Mask:
    """`fill` for the box of `width` x `height` pixels at (left, top)."""
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    up = start[:, 1] > end[:, 1]  # the same edge there and back must cross at the same place
    start[up], end[up] = end[up], start[up]
    first = np.clip(np.ceil(start[:, 1] - 0.5) - top, 0, height).astype(np.int64)
    count = np.clip(np.ceil(end[:, 1] - 0.5) - top, 0, height).astype(np.int64) - first
    total = np.cumsum(count)
    if total[-1] > MAX_CROSSINGS:
        raise AnnotationError(f"a polygon of {len(start)} vertices is too complex")
    toggles = np.zeros(height * (width + 1), np.uint8)
    for chunk in np.split(
        np.arange(len(start)), np.searchsorted(total, np.arange(_CHUNK, total[-1], _CHUNK))
    ):
        edge = np.repeat(chunk, count[chunk])
        if not edge.size:
            continue
        offset = np.arange(edge.size) - np.repeat(np.cumsum(count[chunk]) - count[chunk], count[chunk])
        row = first[edge] + offset
        (x0, y0), (x1, y1) = start[edge].T, end[edge].T
        x = x0 + (row + top + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        column = np.clip(np.ceil(x - 0.5) - left, 0, width).astype(np.int64)
        toggles ^= (np.bincount(row * (width + 1) + column, minlength=toggles.size) & 1).astype(np.uint8)
    crossed = toggles.reshape(height, width + 1)[:, :width]
    return np.bitwise_xor.accumulate(crossed, axis=1).astype(np.bool_)
