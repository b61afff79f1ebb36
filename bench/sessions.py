"""Sessions that were away while much went by: each is owed a few messages, far apart in a large log."""

import selectors
import socket
import time

from servers import Trouble


def packet(kind, body):
    length = len(body)
    head = bytearray([kind])
    while True:
        length, low = divmod(length, 128)
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def connect_packet(name, clean):
    return packet(0x10, text("MQTT") + bytes([4, 2 if clean else 0, 0, 0]) + text(name))


def publish_packet(topic, packet_id, payload):
    return packet(0x32, text(topic) + packet_id.to_bytes(2, "big") + payload)


class Client:
    """MQTT 3.1.1, as much of it as is needed here."""

    def __init__(self, port, name, clean=False):
        self.name = name
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.unread = b""
        self.socket.sendall(connect_packet(name, clean))

    def packets(self):
        """What came, waiting for it if the socket blocks."""
        more = self.socket.recv(65536)
        if not more:
            raise Trouble(f"{self.name}: the server closed the connection")
        self.unread += more
        while len(self.unread) >= 2:
            length, shift, at = 0, 0, 1
            while at < len(self.unread):
                byte = self.unread[at]
                length |= (byte & 0x7F) << shift
                shift += 7
                at += 1
                if byte < 0x80:
                    break
            else:
                return
            if self.unread[at - 1] >= 0x80 or len(self.unread) < at + length:
                return
            kind, body = self.unread[0], self.unread[at : at + length]
            self.unread = self.unread[at + length :]
            yield kind, body

    def expect(self, kind):
        while True:
            for got, _ in self.packets():
                if got == kind:
                    return
                raise Trouble(f"{self.name}: 0x{got:02x} came instead of 0x{kind:02x}")

    def close(self):
        self.socket.close()


class Away:
    """Sessions with a subscription to a topic of their own each."""

    def __init__(self, port, count, each):
        self.port, self.count, self.each = port, count, each
        for number in range(count):
            client = Client(port, f"away-{number}")
            client.expect(0x20)
            client.socket.sendall(packet(0x82, b"\x00\x01" + text(f"away/{number}") + b"\x01"))
            client.expect(0x90)
            client.close()

    def publish_while(self, running, done):
        """Publishes what they are owed, evenly over the time in which done() goes from 0 to 1."""
        client = Client(self.port, "publisher", clean=True)
        client.expect(0x20)
        total = self.count * self.each
        sent = 0
        while sent < total:
            due = total if not running() else min(total, round(done() * total))
            while sent < due:
                few = range(sent, min(sent + 50, due))
                payloads = [(f"away/{n % self.count}", f"{n // self.count:06}".encode().ljust(256, b".")) for n in few]
                client.socket.sendall(
                    b"".join(publish_packet(topic, 1 + at, payload) for at, (topic, payload) in enumerate(payloads))
                )
                acked = 0
                while acked < len(few):
                    acked += sum(kind == 0x40 for kind, _ in client.packets())
                sent += len(few)
            time.sleep(0.02)
        client.close()

    def come_back(self, timeout_s=120):
        """All at once; gives the seconds until each has all it is owed, ascending."""
        begin = time.monotonic()
        selector = selectors.DefaultSelector()
        clients = []
        times = []
        for number in range(self.count):
            client = Client(self.port, f"away-{number}")
            client.socket.setblocking(False)
            client.next = 0
            clients.append(client)
            selector.register(client.socket, selectors.EVENT_READ, client)
        try:
            while len(times) < self.count:
                if time.monotonic() - begin > timeout_s:
                    raise Trouble(f"{self.count - len(times)} of {self.count} sessions were not served in {timeout_s} s")
                for key, _ in selector.select(1):
                    client = key.data
                    for kind, body in client.packets():
                        if kind == 0x20:
                            continue
                        end = 2 + int.from_bytes(body[:2], "big")
                        if kind & 0xF6 != 0x32 or body[2:end].decode() != client.name.replace("-", "/"):
                            raise Trouble(f"{client.name} got what is not its own")
                        if int(body[end + 2 : end + 8]) != client.next:
                            raise Trouble(f"{client.name}: a message is missing or out of order")
                        client.next += 1
                        client.socket.sendall(b"\x40\x02" + body[end : end + 2])
                        if client.next == self.each:
                            times.append(time.monotonic() - begin)
        finally:
            for client in clients:
                client.close()
        return times
