"""Nodes of a cluster: containers with a network of their own. Runs as the first process of new namespaces.

    python3 nodes.py SOCKET < a JSON object

Each node is a network, mount, process and host name namespace; two nodes are joined by a cable (a veth pair). The test
at the other end of SOCKET gets a listening socket in each network, for it to play the master there, and may kill a
node, take the master away or run a command inside. When SOCKET closes, which it does however the test ends, all ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MASTER_IP, MASTER_PORT = "10.0.1.1", 8080
"""Where a node finds the master: an address of its own network, so nothing leaves it."""

LISTEN = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=128)
socket.send_fds(socket.socket(fileno=int(sys.argv[3])), [sys.argv[4].encode()], [listener.fileno()])
"""


def peer_ip(node: int) -> str:
    return f"10.0.0.{node + 1}"


class Nodes:
    def __init__(self, control: socket.socket, given: dict[str, Any]) -> None:
        self._control = control
        unshare = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._nodes = [
            subprocess.Popen(
                [*unshare, "bash", "-c", given["script"], f"node-{i}", *given["arguments"]],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=os.open(log, os.O_WRONLY | os.O_CREAT),
                stderr=subprocess.STDOUT,
            )
            for i, (environment, log) in enumerate(zip(given["environments"], given["logs"], strict=True))
        ]
        self._ended: set[int] = set()

    def connect(self) -> None:
        ours = Path("/proc/self/ns/net").readlink()
        for node in self._nodes:
            while Path(f"/proc/{node.pid}/ns/net").readlink() == ours:
                time.sleep(0.001)
        if len(self._nodes) == 2:
            first, second = (str(node.pid) for node in self._nodes)
            run(*"ip link add name cable netns".split(), first, *"type veth peer name cable netns".split(), second)
        for i in range(len(self._nodes)):
            self.run_inside(i, "ip link set lo up")
            if len(self._nodes) > 1:
                self.run_inside(i, f"ip addr add {peer_ip(i)}/24 dev cable")
                self.run_inside(i, "ip link set cable up")
        self.set_master(True)
        for i, node in enumerate(self._nodes):
            listen = ["nsenter", f"--net=/proc/{node.pid}/ns/net", sys.executable, "-I", "-c", LISTEN]
            fd = self._control.fileno()
            message = json.dumps({"listening": i})
            subprocess.run([*listen, MASTER_IP, str(MASTER_PORT), str(fd), message], check=True, pass_fds=[fd])
        for node in self._nodes:
            assert node.stdin is not None
            node.stdin.close()  # the script goes on

    def serve(self) -> None:
        """Do what the test asks for until all nodes have ended."""
        self._control.settimeout(0.02)
        while len(self._ended) < len(self._nodes):
            for i, node in enumerate(self._nodes):
                if i not in self._ended and node.poll() is not None:
                    self._ended.add(i)
                    self._control.send(json.dumps({"ended": i, "status": node.returncode}).encode())
            try:
                message = self._control.recv(4096)
            except TimeoutError:
                continue
            if not message:
                return
            command, *arguments = json.loads(message)
            {"kill": self.kill, "master": self.set_master, "inside": self.run_inside}[command](*arguments)

    def kill(self, node: int) -> None:
        """What runs in a node ends at once; its network closes the connections."""
        self._nodes[node].send_signal(signal.SIGKILL)

    def set_master(self, there: bool) -> None:
        """Without its address, what was sent to the master is sent again and again, and nobody answers."""
        for i in range(len(self._nodes)):
            self.run_inside(i, f"ip addr {'add' if there else 'del'} {MASTER_IP}/32 dev lo")

    def run_inside(self, node: int, command: str) -> None:
        run("nsenter", f"--target={self._nodes[node].pid}", "--net", "--mount", *command.split())


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as control:
        nodes = Nodes(control, json.load(sys.stdin))
        nodes.connect()
        nodes.serve()


if __name__ == "__main__":
    main()
