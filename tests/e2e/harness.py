"""What every end-to-end test stands on: a directory of its own, and an end for everything that was started in it.

The nodes, the link that can be cut, and the waiting are those of the story (story/processes.py, story/link.py).
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "story"))

from link import LOOPBACK, Link, free_port  # noqa: E402
from processes import Failed, Node, command, end, spawn, wait_for  # noqa: E402

from mqtt import Client  # noqa: E402

# The same random instants again: E2E_SEED=1234 tests/e2e/run.py
SEED = int(os.environ.get("E2E_SEED", random.SystemRandom().randrange(10**6)))


class Listener:
    """mosquitto_sub, an independent subscriber, and what it printed: (topic, QoS, retained, payload)."""

    def __init__(self, port, topic_filter, *options, qos=0, version="mqttv5"):
        self.lines = []
        self._other = []
        # -d makes it say when the subscription stands; a line of ours begins with a word that no other does.
        self.process = spawn(
            ["stdbuf", "-oL", "mosquitto_sub", "-h", LOOPBACK, "-p", port, "-V", version, "-q", qos, "-t", topic_filter]
            + ["-d", "-F", r"MESSAGE\t%t\t%q\t%r\t%p", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip(b"\n")
            if line.startswith(b"MESSAGE\t"):
                _, topic, qos, retain, payload = line.split(b"\t", 4)
                self.lines.append((topic.decode(), int(qos), retain == b"1", payload))
            else:
                self._other.append(line)

    def subscribed(self, seconds=10):
        wait_for(
            "mosquitto_sub to be subscribed",
            lambda: any(line.startswith(b"Subscribed") for line in self._other),
            seconds,
        )
        return self

    def messages(self, count, seconds=10):
        """Waits until there are so many in all, and returns them."""
        wait_for(f"mosquitto_sub to print {count} messages", lambda: len(self.lines) >= count, seconds)
        return self.lines

    def stop(self):
        end(self.process, 3)
        self.process.stdout.close()


def publish(port, topic, payload, *options, qos=0, version="mqttv5", seconds=10):
    """mosquitto_pub, to its end."""
    subprocess.run(
        ["mosquitto_pub", "-h", LOOPBACK, "-p", str(port), "-V", version, "-q", str(qos), "-t", topic]
        + ["-m", payload, *options],
        check=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


def waits(test):
    """Marks a test that does little but wait, for a silence to be noticed or a slow line to be through: those wait beside each
    other, before the rest."""
    test.waits = True
    return test


class Case(unittest.TestCase):
    """Everything made by node(), client(), listener(), link() and keep() ends with the test, whatever happens. When it
    failed, the last lines of the nodes' logs are printed first."""

    def run(self, result=None):
        self._ends = []
        self._nodes = []
        self.random = random.Random(f"{SEED}/{self.id()}")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-e2e-"))
        failures = lambda: len(result.failures) + len(result.errors)
        before = failures()
        try:
            super().run(result)
            if failures() > before:
                for node in self._nodes:
                    print(f"    The last lines of {node.name}'s log:\n{node.log_tail(25)}", flush=True)
        finally:
            for ending in reversed(self._ends):
                try:
                    ending()
                except Exception as error:  # The others have to end too.
                    print(f"    while tidying up: {error}", flush=True)
            shutil.rmtree(self.directory, ignore_errors=True)
        return result

    def keep(self, ending):
        """Calls this when the test is over; the last one first."""
        self._ends.append(ending)

    def node(self, name, directory=None, **init):
        """A node with its data directory made, not started yet."""
        node = Node(name, directory or self.directory / name)
        self._nodes.append(node)
        self.keep(node.stop)
        return node.init(**init)

    def hub(self):
        return self.node("hub").start()

    def site(self, hub, name="site", port=None, down=(), extra="", prefix=None):
        """A registered site of the hub, not started yet. `port`: of a link to the hub, if not of the hub itself."""
        claim = hub.claim_for(name, self.directory / f"{name}.claim", down, prefix)
        return self.node(name, claim=claim, upstream_port=port or hub.port, extra=extra)

    def link(self, target_port):
        link = Link(target_port)
        self.keep(link.close)
        return link

    def client(self, port, client_id, **options):
        """Not connected yet."""
        client = Client(port, client_id, **options)
        self.keep(client.abort)
        return client

    def listener(self, port, topic_filter, *options, **more):
        listener = Listener(port, topic_filter, *options, **more)
        self.keep(listener.stop)
        return listener.subscribed()

    def wait_online(self, site, seconds=20):
        self.wait_state(site, "online", seconds)

    def wait_state(self, node, state, seconds=20):
        seen = {}

        def there():
            seen.update(node.status())
            return seen.get("state") == state

        try:
            wait_for(f"{node.name} to be {state}", there, seconds, every_s=0.1)
        except Failed as failure:
            raise Failed(f"{failure}; it is {seen.get('state')}: {seen.get('sentence')}") from None
        return seen


def hub_nodes(hub):
    return json.loads(hub.command("node", "ls", "-o", "json").stdout)["nodes"]
