"""What is measured: each row is one kind of load, the servers that take part in it, and what it must show.

A contender is a name and a function that makes one run and gives the generator's JSON. Every row keeps account of
lost, doubled and disordered messages besides its figure.
"""

import contextlib
import dataclasses
import itertools
import json
import pathlib
import random
import re
import shutil
import socket
import subprocess
import time
from typing import Callable

from sessions import Away
from servers import FlashMq, Holdfast, HoldfastInClear, Lines, Mosquitto, Nats, Redis, Trouble, run_tool, wait_until

PAYLOAD_BYTES = 256


@dataclasses.dataclass
class Must:
    """A figure of Holdfast, against a peer's (a ratio) or alone (a bound)."""

    figure: str
    peer: str = ""  # Empty: the figure itself.
    least: float = 0
    most: float = 0
    best: bool = False  # Against the peer's best run instead of its median: for peers with a fast and a slow mode.

    def met(self, value):
        return value >= self.least if self.least else value <= self.most

    @property
    def known(self):
        return bool(self.least or self.most)


@dataclasses.dataclass
class Row:
    key: str
    title: str
    about: str
    figure: str  # What the row is about, for the plots.
    contenders: dict[str, Callable]
    musts: list[Must]
    drawing: str = "bars"  # bars, percentiles or arrivals.

    def from_memory(self):
        """Who acknowledges here what a power cut would take back."""
        return [name for name in self.contenders if "durable" in self.key and name in ("Mosquitto", "FlashMQ", "NATS JetStream")]


@dataclasses.dataclass
class Figure:
    label: str
    unit: str
    of: Callable  # From a run's JSON; KeyError if the run has no such figure.


FIGURES = {
    "acked_per_s": Figure("acked/s", "", lambda run: run["acked_per_s"]),
    "delivered_per_s": Figure("delivered/s", "", lambda run: run["delivered_per_s"]),
    "records_per_s": Figure("records/s", "", lambda run: run["records_per_s"]),
    "ack_p50_us": Figure("ack p50", "us", lambda run: run["ack"]["p50_us"]),
    "ack_p99_us": Figure("ack p99", "us", lambda run: run["ack"]["p99_us"]),
    "delivery_p50_us": Figure("delivery p50", "us", lambda run: run["delivery"]["p50_us"]),
    "delivery_p99_us": Figure("delivery p99", "us", lambda run: run["delivery"]["p99_us"]),
    "served_s": Figure("all served after", "s", lambda run: run["served_s"]),
    "idle_mb": Figure("idle, resident", "MB", lambda run: run["idle_mb"]),
    "connection_kb": Figure("for a connection", "KB", lambda run: run["connection_kb"]),
    "binary_mb": Figure("stripped binary", "MB", lambda run: run["binary_mb"]),
    "first_ms": Figure("first record after", "ms", lambda run: run["first_ms"]),
    # The server's processor time for a message that came in, all its threads together.
    "server_us": Figure(
        "server", "us", lambda run: 1e6 * run["server_cpu"] / max(1, run.get("published_per_s", run["acked_per_s"]))
    ),
}
# Which latencies a row draws.
CURVES = {"ack_p50_us": "ack", "ack_p99_us": "ack", "delivery_p50_us": "delivery", "delivery_p99_us": "delivery"}

FAULTS = ("lost", "doubled", "disordered", "corrupted", "foreign", "unanswered", "refused")


class Bench:
    """Where programs and scratch files are, and how long a run takes."""

    def __init__(self, programs, scratch, seconds, warmup, backlog, log):
        self.programs = pathlib.Path(programs)
        self.scratch = pathlib.Path(scratch)
        self.seconds = seconds
        self.warmup = warmup
        self.backlog = backlog
        self.log = log
        self.numbers = itertools.count(1)

    def directory(self):
        """A new one for each run; nothing of an earlier run waits to be written while it is measured."""
        path = self.scratch / f"{next(self.numbers):04}"
        path.mkdir(parents=True)
        try:
            subprocess.run(["sync", "-f", str(path)], timeout=120, check=True)
        except subprocess.TimeoutExpired:
            raise Trouble("the disk is busy: sync took more than 120 s") from None
        return path

    def load(self, mode, server, **options):
        options = {"payload": PAYLOAD_BYTES, "run": random.getrandbits(32)} | options
        return [self.programs / "load", mode, f"--port={server.port}"] + [
            f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')}={value}"
            for name, value in options.items()
        ]

    def timed(self, server):
        return {"seconds": self.seconds, "warmup": self.warmup, "server_pid": server.process.pid}

    def finish(self, command):
        # Beside the time that counts: connecting, settling, saying goodbye.
        return json.loads(run_tool(command, self.seconds + self.warmup + 120))

    # --- Runs.

    def mqtt(self, kind, mode, **options):
        """A contender: this load on a new server."""

        def run():
            directory = self.directory()
            try:
                with kind(directory) as server:
                    return self.finish(self.load(mode, server, **self.timed(server), **options))
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        return run

    def redis(self, connections, window):
        return {"Redis always": self.append(Redis, "redis", connections, window)}

    def nats(self, connections, window):
        return {"NATS JetStream": self.append(Nats, "nats", connections, window)}

    def append(self, kind, dialect, connections, window):
        def run():
            directory = self.directory()
            try:
                with kind(directory) as server:
                    command = [self.programs / "log_load", dialect, f"--port={server.port}"]
                    command += [f"--payload={PAYLOAD_BYTES}"]
                    command += [f"--connections={connections}", f"--window={window}"]
                    command += [f"--seconds={self.seconds}", f"--warmup={self.warmup}"]
                    return self.finish(command + [f"--server-pid={server.process.pid}"])
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        return run

    def read_back(self):
        return lambda: self.finish([self.programs / "read_back"])

    def idle(self, kind, connections=10_000):
        """What a server costs that has nothing to do: alone, and for each client that says nothing."""

        def run():
            directory = self.directory()
            try:
                with kind(directory) as server:
                    time.sleep(1)
                    alone = resident_kb(server)
                    with contextlib.ExitStack() as clients:
                        for number in range(connections):
                            clients.enter_context(silent_client(server.port, f"client-{number}"))
                        time.sleep(1)
                        crowded = resident_kb(server)
                binary = directory / "stripped"
                run_tool(["strip", "-o", binary, shutil.which(kind.binary)], 60)
                return {
                    "idle_mb": round(alone / 1000, 2),
                    "connection_kb": round((crowded - alone) / connections, 2),
                    "binary_mb": round(binary.stat().st_size / 1e6, 2),
                    "connections": connections,
                }
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        return run

    def come_back(self, sessions=1000, each=10):
        """Sessions that were away while a large log grew between their messages."""

        def run():
            directory = self.directory()
            try:
                with Holdfast(directory) as server:
                    backlog = {"publishers": 10, "messages": self.log, "run": random.getrandbits(32)}
                    run_tool(self.load("collect", server, register=True), 60)
                    away = Away(server.port, sessions, each)
                    with Lines(self.load("publish", server, window=100, subscribers=0, **backlog)) as load:
                        begun = records_in(server)
                        away.publish_while(
                            lambda: load.process.poll() is None,
                            lambda: (records_in(server) - begun) / (self.log + sessions * each),
                        )
                        accepted = load.next(600)
                    if accepted["acked"] != self.log:
                        raise Trouble(f"{accepted['acked']} of {self.log} were acknowledged")
                    times = away.come_back()
                    return {
                        "served_s": round(times[-1], 3),
                        "served_p50_s": round(times[len(times) // 2], 3),
                        "records": self.log,
                        "sessions": sessions,
                        "resident_mb": round(resident_kb(server) / 1000, 1),
                    }
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        return run

    def sync_loop(self):
        def run():
            directory = self.directory()
            try:
                return self.finish([self.programs / "sync_loop", directory / "file", f"--seconds={self.seconds}"])
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        return run

    def holdfast_link(self):
        def pair(directory):
            hub = Holdfast(directory / "hub")
            site = Holdfast(directory / "site")
            hub.node, site.node = "hub", "site"

            def introduce():
                site.upstream_port = hub.port
                site.claim = hub.add_node("site")

            return hub, site, introduce

        return lambda: self.drain(pair)

    def mosquitto_bridge(self, *extra):
        def pair(directory):
            hub = Mosquitto(directory / "hub")
            site = Mosquitto(directory / "site")
            site.bridge_port = hub.port
            hub.extra = site.extra = extra
            return hub, site, lambda: None

        return lambda: self.drain(pair)

    def drain(self, pair):
        """A site takes a backlog while its hub is away; then the hub comes back, and somebody waits there for it."""
        directory = self.directory()
        hub, site, introduce = pair(directory)
        backlog = {"publishers": 10, "messages": self.backlog, "run": random.getrandbits(32)}
        waiting = None
        try:
            hub.start()
            introduce()
            run_tool(self.load("collect", hub, register=True), 60)
            hub.stop()
            site.start()
            accepted = json.loads(run_tool(self.load("publish", site, window=100, subscribers=0, **backlog), 300))
            if accepted["acked"] != self.backlog:
                raise Trouble(f"{site.name} acknowledged {accepted['acked']} of {self.backlog}")

            command = self.load("collect", hub, connect_wait=60, settle=60, **backlog)
            waiting = Lines(command)
            hub.start(wait=False)
            links = Links(hub.port)

            def linked():  # The subscriber and the site.
                links.look()
                return len(links.since_ns) >= 2

            wait_until("the link", linked, 90)
            own_port = waiting.next(30)["local_port"]
            drained = waiting.next(600)
        finally:
            if waiting is not None:
                waiting.close()
            site.kill()
            hub.kill()
            shutil.rmtree(directory, ignore_errors=True)

        linked_ns = min(since for port, since in links.since_ns.items() if port != own_port)
        if drained["delivered"]:
            linked_ns = min(linked_ns, drained["first_ns"])  # A busy machine may have let us look too late.
        elapsed_s = max(drained["last_ns"] - linked_ns, 1) * 1e-9
        return drained | {
            "records_per_s": round(drained["delivered"] / elapsed_s),
            "first_ms": round((drained["first_ns"] - linked_ns) * 1e-6, 2),
            "duration_s": elapsed_s,
            "accepted_per_s": accepted["acked_per_s"],
            "timeline": [[round((at_ns - linked_ns) * 1e-9, 4), count] for at_ns, count in drained["timeline"]],
        }


def records_in(server):
    """How many records the server has in its log."""
    command = [server.binary, "status", "-o", "json", "--data", server.directory / "data"]
    return json.loads(run_tool(command, 30))["store"]["records"]


def resident_kb(server):
    """In KB of 1,000 bytes."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1]) * 1.024


def silent_client(port, name):
    """Connected with MQTT 3.1.1 and a clean session, and welcome."""
    variable = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name.encode()
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(bytes([0x10, len(variable)]) + variable)
    if client.recv(4) != b"\x20\x02\x00\x00":
        client.close()
        raise Trouble(f"{name} is not let in")
    return client


class Links:
    """Who is connected to a port, and since when, in ns of the monotonic clock. Asks the kernel: the same for all."""

    def __init__(self, port):
        self.port = port
        self.since_ns = {}  # By the other end's port.

    def look(self):
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if state == "01" and int(local.split(":")[1], 16) == self.port:
                self.since_ns.setdefault(int(remote.split(":")[1], 16), time.monotonic_ns())


def all_rows(bench, flashmq):
    """Rows in the order of the report. FlashMQ takes part if a binary was given."""

    def brokers(mode, peers, **options):
        kinds = {"Mosquitto": Mosquitto} | ({"FlashMQ": FlashMq} if flashmq else {})
        contenders = {name: bench.mqtt(kind, mode, **options) for name, kind in kinds.items() if name in peers}
        return contenders, {"Holdfast": bench.mqtt(Holdfast, mode, **options)}

    def row(key, title, about, figure, parts, musts, drawing="bars"):
        contenders = {}
        for part in parts:
            contenders |= part
        kept = [must for must in musts if not must.peer or must.peer in contenders]
        return Row(key, title, about, figure, contenders, kept, drawing)

    both = ("Mosquitto", "FlashMQ")
    rows = []

    many = brokers("publish", both, publishers=10, window=100, qos=1)
    rows.append(
        row(
            "durable-1000",
            "durable QoS 1, 1,000 in flight",
            "10 publishers with 100 in flight each to one persistent subscriber that is online",
            "acked_per_s",
            [bench.redis(10, 100), bench.nats(10, 100), *many],
            [
                Must("acked_per_s", "Redis always", least=10),
                Must("acked_per_s", "FlashMQ", least=1.0),
                Must("acked_per_s", "NATS JetStream"),
                Must("acked_per_s", "Mosquitto"),
                Must("ack_p99_us", most=2000),
            ],
        )
    )
    hundred = brokers("publish", both, publishers=1, window=100, qos=1)
    rows.append(
        row(
            "durable-100",
            "durable QoS 1, 100 in flight",
            "one publisher to one persistent subscriber that is online",
            "acked_per_s",
            [bench.redis(1, 100), bench.nats(1, 100), *hundred],
            [
                Must("acked_per_s", "Redis always", least=2.5),
                Must("acked_per_s", "FlashMQ", least=0.45),
                Must("acked_per_s", "NATS JetStream"),
                Must("acked_per_s", "Mosquitto"),
            ],
        )
    )
    one = brokers("publish", (), publishers=1, window=1, qos=1)
    rows.append(
        row(
            "durable-1",
            "durable QoS 1, 1 in flight",
            "one publisher that waits for every acknowledgement; the sync loop is the disk without any server",
            "acked_per_s",
            [{"sync loop": bench.sync_loop()}, bench.redis(1, 1), bench.nats(1, 1), *one],
            [Must("acked_per_s", "sync loop", least=0.5),
             Must("acked_per_s", "Redis always"),
             Must("acked_per_s", "NATS JetStream")],
        )
    )
    rows.append(
        row(
            "latency-qos0",
            "latency at 1,000 msg/s, QoS 0",
            "from the publisher's send to the subscriber's receive",
            "delivery_p50_us",
            brokers("latency", both, qos=0, clean=True),
            [Must("delivery_p50_us", "Mosquitto", most=1.0), Must("delivery_p50_us", "FlashMQ")],
            drawing="percentiles",
        )
    )
    rows.append(
        row(
            "latency-qos1",
            "latency at 1,000 msg/s, durable QoS 1",
            "from the publisher's send to its acknowledgement",
            "ack_p50_us",
            brokers("latency", both, qos=1),
            [Must("ack_p50_us", most=250), Must("ack_p50_us", "Mosquitto"), Must("ack_p50_us", "FlashMQ")],
            drawing="percentiles",
        )
    )
    rows.append(
        row(
            "qos0",
            "QoS 0, 1 to 1",
            "one publisher to one subscriber with a clean session",
            "delivered_per_s",
            brokers("publish", both, qos=0, clean=True),
            [Must("delivered_per_s", "FlashMQ", least=1.0, best=True), Must("delivered_per_s", "Mosquitto")],
        )
    )
    rows.append(
        row(
            "fanout",
            "QoS 0, fan-out 1 to 100",
            "one publisher to 100 subscribers with clean sessions",
            "delivered_per_s",
            brokers("fanout", both, qos=0, clean=True, subscribers=100),
            [Must("delivered_per_s", "FlashMQ", least=2.0, best=True), Must("delivered_per_s", "Mosquitto")],
        )
    )
    rows.append(
        row(
            "durable-qos2",
            "durable QoS 2, 100 in flight",
            "10 publishers with 10 in flight each to one persistent subscriber that is online",
            "acked_per_s",
            brokers("publish", both, publishers=10, window=10, qos=2),
            [Must("acked_per_s", "Mosquitto"), Must("acked_per_s", "FlashMQ")],
        )
    )
    tuned = "Mosquitto tuned"
    rows.append(
        row(
            "link-drain",
            "link drain over loopback",
            f"{bench.backlog:,} records wait at a site; from the moment the link's connection stands until a "
            "subscriber at the hub has them all",
            "records_per_s",
            [
                {
                    "Mosquitto": bench.mosquitto_bridge(),
                    tuned: bench.mosquitto_bridge("max_inflight_messages 1000"),
                    "Holdfast": bench.holdfast_link(),
                }
            ],
            [
                Must("records_per_s", "Mosquitto", least=8),
                Must("records_per_s", tuned),
                Must("first_ms", most=100),
            ],
            drawing="arrivals",
        )
    )
    rows.append(
        row(
            "encryption",
            "what encryption costs",
            "durable QoS 1, 1,000 in flight; the same program with checksums in the place of AES-256-GCM",
            "acked_per_s",
            [
                {HoldfastInClear.name: bench.mqtt(HoldfastInClear, "publish", publishers=10, window=100, qos=1)},
                {"Holdfast": bench.mqtt(Holdfast, "publish", publishers=10, window=100, qos=1)},
            ],
            [Must("acked_per_s", HoldfastInClear.name, least=0.9)],
        )
    )
    rows.append(
        row(
            "read-back",
            "a backlog read back",
            "one thread decrypts, parses, encodes and acknowledges; the files lie in memory",
            "records_per_s",
            [{"Holdfast": bench.read_back()}],
            [Must("records_per_s", least=4e6)],
        )
    )
    rows.append(
        row(
            "come-back",
            "1,000 sessions come back",
            f"each is owed 10 messages that lie far apart among {bench.log:,} others; until the last has them all",
            "served_s",
            [{"Holdfast": bench.come_back()}],
            [Must("served_s", most=5)],
        )
    )
    kinds = [Mosquitto] + ([FlashMq] if flashmq else []) + [Holdfast]
    rows.append(
        row(
            "idle",
            "with nothing to do",
            "alone, and with 10,000 clients that say nothing",
            "idle_mb",
            [{kind.name: bench.idle(kind) for kind in kinds}],
            [
                Must("idle_mb", most=12),
                Must("idle_mb", "Mosquitto"),
                Must("connection_kb", most=4),
                Must("connection_kb", "Mosquitto"),
                Must("binary_mb", most=8),
                Must("binary_mb", "Mosquitto"),
            ],
        )
    )
    return rows
