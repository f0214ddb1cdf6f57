# SPDX-License-Identifier: BSD-3-Clause
"""The client's memory: mapping and unmapping a piece of it, and finding it, by how many maps there are."""

from __future__ import annotations

from ..programs import Bench, column, program, serve
from ..results import Beside, Row

TITLE = "DMA: map, unmap, look-up"

MAPS = (1, 16, 1024, 65535)


def map_and_unmap(bench: Bench, maps: int) -> dict[str, float]:
    with serve("edu") as (_, socket):
        return program("ours_dma", socket, maps=maps, count=bench.count(4000))


def measure(bench: Bench) -> list[Row]:
    count = bench.count(10000)
    probes = {"bare": lambda: program("floor_socket", mode="poll", count=count)}
    for maps in MAPS:
        probes[f"look-up {maps}"] = lambda m=maps: program(
            "ours_lookup", maps=m, count=bench.count(2000000)
        )
        probes[f"map {maps}"] = lambda m=maps: map_and_unmap(bench, m)
    found = bench.collect(probes)
    rows = []
    for key, title in (("map_ns", "map"), ("unmap_ns", "unmap")):
        for maps in MAPS:
            results = found.get(f"map {maps}")
            if results:
                beside = (
                    [Beside("a bare message and its reply", column(found["bare"], "round_trip_ns"))]
                    if "bare" in found
                    else []
                )
                rows.append(Row(f"{title}, one of {maps}", "ns", column(results, key), beside))
    for key, title in (("same_map_ns", "the same map again"), ("random_map_ns", "a map at random")):
        for maps in MAPS:
            results = found.get(f"look-up {maps}")
            if results:
                rows.append(Row(f"look-up, {title}, of {maps}", "ns", column(results, key)))
    return rows
