#!/usr/bin/env python3
"""Shows that `load` can find what it claims to find: a broker that loses, doubles, swaps and spoils on purpose.

    bench/load_test.py [path of load]

A zero in a table means something only if the counter behind it is seen to count.
"""

import json
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOAD = ROOT / "build" / "release" / "bench" / "load"


class CrookedBroker:
    """Speaks enough MQTT 3.1.1 for one run. `deliver(number, packet)` gives what goes on for one PUBLISH."""

    def __init__(self, deliver):
        self.deliver = deliver
        self.subscriber = None
        self.numbers = {}
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        stream = connection.makefile("rb")
        while True:
            first = stream.read(1)
            if not first:
                return
            size = shift = 0
            while True:
                byte = stream.read(1)[0]
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            body = stream.read(size)
            kind = first[0] >> 4
            if kind == 1:
                connection.sendall(b"\x20\x02\x00\x00")
            elif kind == 8:
                self.subscriber = connection
                connection.sendall(b"\x90\x03" + body[:2] + b"\x01")
            elif kind == 3:
                self.publish(connection, first, body)
            elif kind == 14:
                connection.close()
                return

    def publish(self, connection, first, body):
        topic_end = 2 + struct.unpack(">H", body[:2])[0]
        identifier = body[topic_end : topic_end + 2]
        with self.lock:
            number = self.numbers.setdefault(body[2:topic_end], 0)
            self.numbers[body[2:topic_end]] += 1
            for packet in self.deliver(number, body):
                size = len(packet)
                self.subscriber.sendall(first + bytes([size & 127 | 128, size >> 7]) + packet)
        connection.sendall(b"\x40\x02" + identifier)

    def close(self):
        self.listener.close()


class LoadTest(unittest.TestCase):
    def run_against(self, deliver, **options):
        broker = CrookedBroker(deliver)
        self.addCleanup(broker.close)
        arguments = {"port": broker.port, "messages": 100, "window": 1, "settle": 0.3} | options
        command = [LOAD, "publish"] + [f"--{name}={value}" for name, value in arguments.items()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return json.loads(done.stdout)

    def assert_counts(self, result, **wanted):
        names = ("lost", "doubled", "disordered", "corrupted", "foreign", "unanswered", "refused")
        self.assertEqual({name: result[name] for name in names if result[name]}, wanted)

    def test_honest(self):
        result = self.run_against(lambda number, packet: [packet], publishers=3, messages=300)
        self.assert_counts(result)
        self.assertEqual((result["published"], result["acked"], result["delivered"]), (300, 300, 300))

    def test_lost(self):
        gone = (0, 50, 51, 99)
        self.assert_counts(self.run_against(lambda number, packet: [] if number in gone else [packet]), lost=4)

    def test_doubled(self):
        result = self.run_against(lambda number, packet: [packet] * (2 if number % 10 == 0 else 1))
        self.assert_counts(result, doubled=10)

    def test_swapped(self):
        held = []

        def deliver(number, packet):
            if number in (30, 60):
                held.append(packet)
                return []
            return [packet] + ([held.pop()] if held else [])

        self.assert_counts(self.run_against(deliver), disordered=2)

    def test_spoiled(self):
        def deliver(number, packet):
            return [packet[:-1] + bytes([packet[-1] ^ 1])] if number == 7 else [packet]

        # What cannot be read was not delivered either.
        self.assert_counts(self.run_against(deliver), corrupted=1, lost=1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        LOAD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main()
