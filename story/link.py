"""A link that can be cut the way links are cut in the field: no FIN, no RST, bytes just stop.

A proxy on the loopback interface, in a thread of its own, that counts what it carries. While it is cut it touches no socket:
what the two sides send piles up in the kernel's buffers, and a new connection seems to be accepted and hears nothing. When the
link is mended, what was on its way arrives late, also from a process that is long dead: a network does the same.
"""

import select
import socket
import struct
import threading

LOOPBACK = "127.0.0.1"


def free_port():
    """A port that is free now. Ports of this range are given out in turn, so nobody is likely to take it before us."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


class _Flow:
    """One direction of one connection."""

    BUFFER_BYTES_MAX = 256 * 1024

    def __init__(self, source, sink):
        self.source = source
        self.sink = sink
        self.waiting = b""
        self.ended = False  # The source will send no more.
        self.shut = False  # And the sink knows.


class Link:
    """Carries connections made to `port` on to `target_port`, until somebody cuts it."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.bytes_up = 0  # From those who connect here to the target.
        self.bytes_down = 0
        self.connections = 0
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._is_cut = False
        self._forget = False
        self._closing = False
        self._pairs = []  # [(up, down)]
        self._forgotten = []  # Sockets that stay open and are never looked at again.
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._thread.start()

    def cut(self):
        self._is_cut = True
        self._wake()

    def mend(self, forget=False):
        """`forget`: connections from before are dead for ever and nobody is told, as after a router lost its state."""
        self._forget = forget
        self._is_cut = False
        self._wake()

    @property
    def is_cut(self):
        return self._is_cut

    def close(self):
        self._closing = True
        self._wake()
        self._thread.join(5)

    def _wake(self):
        try:
            self._wake_write.send(b"x")
        except OSError:
            pass

    def _run(self):
        try:
            while not self._closing:
                self._turn()
        finally:
            for up, down in self._pairs:
                up.source.close()
                down.source.close()
            for each in [self._listener, self._wake_read, self._wake_write, *self._forgotten]:
                each.close()

    def _turn(self):
        if self._forget:
            self._forget = False
            for up, down in self._pairs:
                self._forgotten += [up.source, down.source]
            self._pairs = []
        readers, writers = [self._wake_read], []
        flows = []
        if not self._is_cut:
            readers.append(self._listener)
            flows = [flow for pair in self._pairs for flow in pair]
            for flow in flows:
                if not flow.ended and len(flow.waiting) < _Flow.BUFFER_BYTES_MAX:
                    readers.append(flow.source)
                if flow.waiting:
                    writers.append(flow.sink)
        readable, writable, _ = select.select(readers, writers, [], 1)
        if self._wake_read in readable:
            self._wake_read.recv(4096)
            return  # What was asked may change what is to be watched.
        if self._listener in readable:
            self._accept()
        for up, down in list(self._pairs):
            try:
                self.bytes_up += self._carry(up, readable, writable)
                self.bytes_down += self._carry(down, readable, writable)
            except OSError:
                self._drop(up, down)
                continue
            if up.shut and down.shut:
                self._drop(up, down, reset=False)

    def _accept(self):
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection((LOOPBACK, self.target_port), timeout=2)
        except OSError:
            near.close()
            return
        for each in (near, far):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1
        self._pairs.append((_Flow(near, far), _Flow(far, near)))

    @staticmethod
    def _carry(flow, readable, writable):
        """Returns how many bytes came in."""
        came = 0
        if flow.source in readable and not flow.ended:
            try:
                data = flow.source.recv(65536)
                came = len(data)
                flow.waiting += data
                flow.ended = not data
            except BlockingIOError:
                pass
        if flow.waiting and (came or flow.sink in writable):
            try:
                flow.waiting = flow.waiting[flow.sink.send(flow.waiting) :]
            except BlockingIOError:
                pass
        if flow.ended and not flow.waiting and not flow.shut:
            flow.shut = True
            flow.sink.shutdown(socket.SHUT_WR)
        return came

    def _drop(self, up, down, reset=True):
        self._pairs.remove((up, down))
        for each in (up.source, down.source):
            if reset:  # An error on one side is an error on the other.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
