#!/usr/bin/env python3
"""Looks on with the real TensorBoard while a run is written.

    python tb_live.py DIR

Starts a server per loader, fast and slow. For each line of standard input, JSON `{run: {tag: [[step, value], ...]}}`,
it waits until both servers show these points and no others of those tags, and prints `ok`. It prints the points that are
shown instead after a minute. Needs tensorboard.
"""
import json, sys, time

from tb_check import Server


def shown(server, wanted):
    there = server.get("plugin/scalars/tags")
    points = lambda run, tag: [[step, value] for _, step, value in server.get("plugin/scalars/scalars", {"run": run, "tag": tag})]
    return {run: {tag: points(run, tag) if tag in there.get(run, {}) else None for tag in tags} for run, tags in wanted.items()}


def wait(servers, wanted):
    end = time.time() + 60
    while True:
        found = {loader: shown(server, wanted) for loader, server in servers.items()}
        if all(points == wanted for points in found.values()):
            return "ok"
        if time.time() > end:
            return json.dumps(found)
        time.sleep(0.3)


def main():
    servers = {}
    try:
        for loader in ("fast", "slow"):
            servers[loader] = Server(sys.argv[1], loader == "fast", "scalars=10000000", 60)
        for line in sys.stdin:
            print(wait(servers, json.loads(line)), flush=True)
    finally:
        for server in servers.values():
            server.stop()


if __name__ == "__main__":
    main()
