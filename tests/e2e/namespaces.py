"""Network namespaces of our own: cables that can be unplugged. What is made here is seen by nobody else and is gone when the
processes that hold it are.

    with a user who may not make them, even in a namespace for users of his own, available() says why not
"""

import os
import subprocess

from processes import Failed, end, spawn, wait_for


class Namespace:
    """A machine's network, with nothing but a loopback interface in it."""

    def __init__(self, beside=None):
        """`beside`: another one that this one shall have cables to."""
        first = ["unshare"] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        command = [*(beside.enter if beside else []), *(["unshare"] if beside else first), "--net", "sleep", "infinity"]
        own = _network(os.getpid()) if beside is None else beside.name
        self.process = spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        # What it holds is there once it has become `sleep`.
        wait_for("a network namespace", lambda: self.process.poll() is not None or self._holds(own), 10)
        if self.process.poll() is not None:
            said = self.process.stderr.read().decode().strip()
            self.process.stderr.close()
            raise Failed(f"no network namespace: {said}")
        self.name = _network(self.process.pid)
        users = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.enter = ["nsenter", "--target", str(self.process.pid), *users, "--net"]
        self.ip("link", "set", "lo", "up")

    def _holds(self, other):
        with open(f"/proc/{self.process.pid}/comm", encoding="utf-8") as comm:
            return comm.read().strip() == "sleep" and _network(self.process.pid) != other

    def run(self, *command):
        done = subprocess.run(
            [*self.enter, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10
        )
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def ip(self, *words):
        return self.run("ip", *words)

    def cable(self, name, other, other_name):
        """A pair of interfaces, one here and one there, both up and without addresses."""
        self.ip("link", "add", name, "type", "veth", "peer", "name", other_name, "netns", str(other.process.pid))
        self.ip("link", "set", name, "up")
        other.ip("link", "set", other_name, "up")

    def close(self):
        end(self.process, 3)
        self.process.stderr.close()


def _network(pid):
    return os.readlink(f"/proc/{pid}/ns/net")


def unavailable():
    """Why there can be none here; empty if there can."""
    try:
        first = Namespace()
    except (Failed, OSError) as failure:
        return str(failure)
    try:
        second = Namespace(first)
        try:
            first.cable("here", second, "there")
        finally:
            second.close()
    except (Failed, OSError) as failure:
        return str(failure)
    finally:
        first.close()
    return ""
