"""Those who mean no good: floods before authentication, slow readers, floods of subscriptions, deep and long topics, TLS storms.
What is measured here is what the others notice of it; the bounds are promises to people and not a benchmark."""

import os
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import time
import urllib.request

from harness import LOOPBACK, Case, free_port, spawn, wait_for, waits
from mqtt import V5, Refused

GOOD_P99_MS = 100
STORM_P99_MS = 50
STORM_CLIENTS = 10_000
MIB = 1 << 20


def connect_packet(client_id, flags=2, keep_alive_s=600):
    body = b"\0\4MQTT\4" + struct.pack(">BH", flags, keep_alive_s) + struct.pack(">H", len(client_id)) + client_id
    return b"\x10" + bytes([len(body)]) + body


def resident_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    return 0


def metric(port, name):
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=20) as page:
        for line in page.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    raise AssertionError(f"there is no metric {name}")


class RoundTrips:
    """A good client that publishes to itself at QoS 0, one message after another; how long each took."""

    def __init__(self, port, topic=b"good/news"):
        self.socket = socket.create_connection((LOOPBACK, port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(connect_packet(b"good"))
        self._read(4)
        filter_ = struct.pack(">H", len(topic)) + topic
        body = b"\0\1" + filter_ + b"\0"
        self.socket.sendall(b"\x82" + bytes([len(body)]) + body)
        self._read(5)
        message = struct.pack(">H", len(topic)) + topic + b"x" * 64
        self.packet = b"\x30" + bytes([len(message)]) + message

    def _read(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "the node closed a good client's connection"
            data += more
        return data

    def once(self):
        begin = time.perf_counter()
        self.socket.sendall(self.packet)
        self._read(len(self.packet))
        return time.perf_counter() - begin

    def p99_ms(self, count):
        took = sorted(self.once() for _ in range(count))
        return took[int(count * 0.99) - 1] * 1000

    def close(self):
        self.socket.close()


class Hostile(Case):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
        self.keep(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))

    def good(self, node):
        client = RoundTrips(node.port)
        self.keep(client.close)
        return client

    def test_ten_thousand_who_never_finish_their_connect(self):
        """Goal: they get 8 MiB of buffers together, and nobody else waits. Method: each sends a kilobyte of a CONNECT that
        goes on for 60, a good client measures meanwhile."""
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 12_000:
            self.skipTest("too few open files are allowed here")
        http = free_port()
        node = self.node("node", extra=f'[[listener]]\naddress = "{LOOPBACK}:{http}"\nprotocol = "http"\n').start()
        good = self.good(node)
        before = resident_bytes(node.process.pid)
        beginning = b"\x10\xe0\xd4\x03\0\4MQTT\5\2\0\x3c" + b"x" * 1_000
        took, hostile, buffered = [], [], []
        self.keep(lambda: [one.close() for one in hostile])
        for number in range(10_000):
            one = socket.create_connection((LOOPBACK, node.port), timeout=20)
            hostile.append(one)
            try:
                one.sendall(beginning)
            except OSError:
                pass
            if number % 20 == 0:
                took.append(good.once() * 1000)
            if number % 250 == 249:
                buffered.append(metric(http, "holdfast_preauth_bytes"))
        took += [good.once() * 1000 for _ in range(500)]
        buffered.append(metric(http, "holdfast_preauth_bytes"))
        took.sort()
        p99 = took[int(len(took) * 0.99) - 1]
        grown = resident_bytes(node.process.pid) - before
        self.note = f"good p99 {p99:.1f} ms, {grown / MIB:.0f} MiB for 10,000 connections, {max(buffered) / MIB:.1f} of them buffers"
        self.assertLess(p99, GOOD_P99_MS)
        self.assertLess(grown, 64 * MIB)
        self.assertLessEqual(max(buffered), 8 * MIB)
        self.assertGreater(max(buffered), MIB)  # So that it is seen to count.
        # None of them stays for longer than a CONNECT may take.
        wait_for("them to be shown the door", lambda: node.status()["broker"]["connections"] <= 2, 30)
        self.assertLess(metric(http, "holdfast_preauth_bytes"), 4096)

    def test_a_subscriber_that_does_not_read_costs_a_bounded_buffer(self):
        node = self.node("node").start()
        lazy = socket.create_connection((LOOPBACK, node.port), timeout=20)
        self.keep(lazy.close)
        lazy.sendall(connect_packet(b"lazy"))
        lazy.recv(4)
        lazy.sendall(b"\x82\x08\0\1\0\3big\0")
        lazy.recv(5)
        good = self.good(node)
        before = resident_bytes(node.process.pid)
        sender = socket.create_connection((LOOPBACK, node.port), timeout=20)
        self.keep(sender.close)
        sender.sendall(connect_packet(b"sender"))
        sender.recv(4)
        payload = b"x" * 60_000
        body = b"\0\3big" + payload
        size = len(body)
        packet = b"\x30" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + body
        for _ in range(3_000):
            sender.sendall(packet)
        p99 = good.p99_ms(500)
        grown = resident_bytes(node.process.pid) - before
        self.note = f"{grown / MIB:.0f} MiB after 180 MB, good p99 {p99:.1f} ms"
        self.assertLess(grown, 32 * MIB)
        self.assertLess(p99, GOOD_P99_MS)

    def test_a_hundred_thousand_wildcard_subscriptions(self):
        """Goal: they cost the others no time. Method: 100 sessions with 1,000 filters each, of every shape."""
        node = self.node("node").start()
        connections = []
        self.keep(lambda: [one.close() for one in connections])
        for session in range(100):
            one = socket.create_connection((LOOPBACK, node.port), timeout=60)
            connections.append(one)
            one.sendall(connect_packet(f"wild-{session}".encode()))
            one.recv(4)
            for batch in range(10):
                body = struct.pack(">H", batch + 1)
                for number in range(100):
                    n = batch * 100 + number
                    text = (f"+/w{session}/{n}/#", f"a/+/s{session}/+/{n}", f"+/+/+/s{session}x{n}/+", f"b{session}/{n}/#")[n % 4]
                    body += struct.pack(">H", len(text)) + text.encode() + b"\0"
                size = len(body)
                one.sendall(b"\x82" + bytes([size & 127 | 128, size >> 7]) + body)
                answer = b""
                while len(answer) < 104:
                    answer += one.recv(4096)
        good = self.good(node)
        p99 = good.p99_ms(2_000)
        self.note = f"round trip p99 {p99:.2f} ms beside 100,000 filters"
        self.assertLess(p99, 5)

    def test_topics_of_any_shape(self):
        """Goal: the longest, the deepest and the emptiest of topics and filters hurt nobody."""
        node = self.node("node").start()
        good = self.good(node)
        for topic in ["/" * 255, "a/" * 255 + "a", "x" * 65_535, "/".join(["+"] * 256), "+/" * 255 + "#"]:
            client = self.client(node.port, "shapes", version=V5, clean=True)
            client.open()
            client.subscribe(topic, 1)
            if "+" not in topic:
                client.publish(topic, b"x", 1)
                client.wait_until("it", lambda: client.messages, 10)
            client.disconnect()
        for topic in ["/" * 256, "a/" * 300 + "#"]:
            client = self.client(node.port, "too-deep", version=V5, clean=True)
            client.open()
            try:
                client.subscribe(topic, 1)
            except OSError:
                pass
            wait_for("the door", lambda: client.disconnect_reason == 0x8F, 10)
        self.assertLess(good.p99_ms(100), GOOD_P99_MS)

    @waits
    def test_a_log_that_nobody_reads(self):
        """Goal: a log that is not read holds nobody up, however much strangers have written into it, and it says later what is
        missing. Method: standard error is a pipe; CONNECTs are refused that have the longest client identifiers, of characters
        that the log escapes."""
        node = self.node("node", extra="anonymous = false\n")
        reads, writes = os.pipe()
        node.process = spawn([node.holdfast, "run", "--data", node.directory], stdout=subprocess.DEVNULL, stderr=writes)
        os.close(writes)
        self.keep(lambda: os.close(reads))
        node.ready()
        name = "\u0085" * 32_000

        def refused():
            with self.assertRaises(Refused):
                self.client(node.port, name, version=V5, clean=True, user=("eve", "guess")).open()

        for _ in range(8):
            before = time.monotonic()
            refused()
            self.assertLess(time.monotonic() - before, 2, "it waits for who reads its log")
            time.sleep(1.1)  # One line of an event a second.
        filled = 0
        with open(f"/proc/self/fd/{reads}", "wb", buffering=0) as other:  # Until nothing has room.
            os.set_blocking(other.fileno(), False)
            while other.write(b"x" * 4096):
                filled += 4096
        refused()
        time.sleep(1.1)
        refused()
        seen = os.read(reads, 1 << 20).decode()
        lines = [line for line in seen.splitlines() if "HF-MQTT-001" in line]
        self.assertEqual(8, len(lines))
        self.assertLess(max(map(len, lines)), 4096)
        time.sleep(1.1)
        refused()
        self.assertIn("HF-LOG-001 2 lines were dropped", os.read(reads, 1 << 20).decode())

    def test_a_storm_of_tls_handshakes(self):
        """Goal: while thousands of clients come back over TLS at the same time, who is there waits less than 50 ms. Method: a process
        that opens all of their sockets at once and goes on with whichever is answered (tls_storm.py)."""
        openssl = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=self.directory)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=storm")
        port = free_port()
        node = self.node(
            "node",
            extra=f'[[listener]]\naddress = "{LOOPBACK}:{port}"\ncertificate = "{self.directory}/cert.pem"\nkey = "{self.directory}/key.pem"\n',
        ).start()
        good = self.good(node)
        for _ in range(100):
            good.once()
        storm = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("tls_storm.py")), str(port), str(STORM_CLIENTS), "40"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.keep(storm.stdout.close)
        self.keep(storm.kill)
        begin = time.monotonic()
        took = []
        while storm.poll() is None:
            took.append(good.once() * 1000)
            time.sleep(0.002)
        seconds = time.monotonic() - begin
        at_once, done, failed = (int(word) for word in storm.stdout.read().split())
        took.sort()
        p99 = took[int(len(took) * 0.99) - 1]
        self.note = f"{at_once} at once, {done} in and {failed} not after {seconds:.1f} s; good p99 {p99:.1f} ms of {len(took)}"
        self.assertEqual(STORM_CLIENTS, at_once)
        self.assertGreater(done, STORM_CLIENTS // 2)
        self.assertGreater(len(took), 100)
        self.assertLess(p99, STORM_P99_MS)
