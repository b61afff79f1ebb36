"""Many clients that come back over TLS at the same time: all of them connect at once, and each says CONNECT when its handshake is done.

    tests/e2e/tls_storm.py PORT CLIENTS SECONDS

Prints "CONNECTED_AT_ONCE DONE FAILED" when all are in or the time is over: how many sockets were open at the same time, and what came
of them. One thread and no blocking calls, so that thousands wait beside each other as thousands of devices do. A process of its own,
because what the test measures meanwhile must not wait for this one.
"""

import select
import socket
import ssl
import sys
import time

CONNECT = b"\x10\x11\0\4MQTT\4\2\2\x58\0\5"


class Client:
    def __init__(self, port, context, number):
        self.connect = CONNECT + b"%05d" % number
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.shaken = False
        self.socket.connect_ex(("127.0.0.1", port))

    def flush(self):
        data = self.outgoing.read()
        if data:
            self.socket.sendall(data)  # A handshake's piece fits into any socket's buffer.

    def step(self, readable):
        """True when it is in."""
        if readable:
            data = self.socket.recv(65536)
            if not data:
                raise OSError("closed")
            self.incoming.write(data)
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
                self.tls.write(self.connect)
            return self.tls.read(4) == b"\x20\2\0\0"
        except ssl.SSLWantReadError:
            return False
        finally:
            self.flush()


def main():
    port, count, seconds = (int(word) for word in sys.argv[1:4])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    poll = select.epoll()
    clients = {}
    for number in range(count):
        client = Client(port, context, number)
        clients[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLOUT)
    at_once, done, failed = len(clients), 0, 0
    end = time.monotonic() + seconds
    while clients and time.monotonic() < end:
        for number, events in poll.poll(0.1):
            client = clients[number]
            try:
                over = client.step(readable=not events & select.EPOLLOUT)
                if events & select.EPOLLOUT:
                    poll.modify(number, select.EPOLLIN)
            except OSError:  # ssl.SSLError is one.
                over, failed = True, failed + 1
            else:
                done += 1 if over else 0
            if over:
                poll.unregister(number)
                clients.pop(number).socket.close()
    print(at_once, done, failed + len(clients))


if __name__ == "__main__":
    main()
