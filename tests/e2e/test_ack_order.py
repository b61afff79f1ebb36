"""Nothing is acknowledged before it is durable: seen in the system calls, in the order in which the kernel saw them.

    recvfrom of PUBLISH  ->  pwrite64 to a segment  ->  fdatasync of it = 0  ->  sendmsg of PUBACK

A write through a descriptor that was opened with O_DSYNC is its own sync.
"""

import re
import time
import unittest

from harness import Case, wait_for
from mqtt import V311
from test_disk import STRACE, strace_works

# "7 pwrite64(5</store/1.seg>, ..., 4096, 8192) = 4096", whole or in two parts.
CALL = re.compile(r"^(\d+)\s+(\w+)\((\w+)<((?:->|[^>])*)>(.*)$")
RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$")
RESULT = re.compile(r"= (-?\d+)(?: \S.*)?$")
OFFSET = re.compile(r", (\d+)(?:\)| <unfinished)")

# However the node chooses to do it.
READS = {"recvfrom", "recvmsg", "read", "readv"}
SENDS = {"sendto", "sendmsg", "write", "writev"}
WRITES = {"pwrite64", "pwritev", "pwritev2"}
SYNCS = {"fdatasync", "fsync"}
OPENS = {"openat"}

# '7 openat(4</store>, ""..., O_RDWR|O_DIRECT|O_DSYNC) = 5</store/1.seg>'
OPENED = re.compile(r"= (\d+)<([^>]*)>$")

PUBACK_BYTES = 4
CONNACK_BYTES = 4


class Order:
    """Follows one publisher's connection through a trace. All its PUBLISH packets have the same size.

    A write to a segment holds at most the messages that had been read when it began; the fdatasync after it covers what
    finished writes held; and no more may be acknowledged than that. The thread that prepares segments (it writes at their
    beginning) commits nothing, and is left out.
    """

    def __init__(self, connection, connect_bytes, publish_bytes):
        self.connection = connection  # "127.0.0.1:1883->127.0.0.1:51234"
        self.connect_bytes = connect_bytes
        self.publish_bytes = publish_bytes
        self.read_bytes = self.sent_bytes = 0
        self.written = {}  # Segment -> messages that finished writes to it hold at most.
        self.durable = self.syncs = 0
        self.early = []  # (acknowledged, durable) where the one was ahead of the other.
        self.running = {}  # Thread -> (call, file, what counted when it began)
        self.opening = {}  # Thread -> whether with O_DSYNC
        self.synced_by_write = set()  # Descriptors.
        self.preparing = set()

    def received(self):
        return max(0, self.read_bytes - self.connect_bytes) // self.publish_bytes

    def acknowledged(self):
        return max(0, self.sent_bytes - CONNACK_BYTES) // PUBACK_BYTES

    def line(self, text):
        begun = CALL.match(text)
        if begun:
            thread, call, descriptor, file, rest = begun.groups()
            self._begin(thread, call, descriptor, file, rest)
            if "<unfinished ...>" not in rest:
                self._finish(thread, rest)
            return
        resumed = RESUMED.match(text)
        if resumed:
            self._finish(resumed[1], resumed[3])

    def _begin(self, thread, call, descriptor, file, rest):
        self.running.pop(thread, None)
        self.opening.pop(thread, None)
        if call in OPENS:
            self.opening[thread] = "O_DSYNC" in rest
        elif call in READS | SENDS:
            if self.connection in file:
                self.running[thread] = (call, file, self.durable)
        elif file.endswith(".seg"):
            if call in WRITES and OFFSET.findall(rest)[-1] == "0":
                self.preparing.add(thread)
            if thread not in self.preparing:
                counted = self.received() if call in WRITES else self.written.get(file, 0)
                durably = call in WRITES and descriptor in self.synced_by_write
                self.running[thread] = ("durable write" if durably else call, file, counted)

    def _opened(self, descriptor, durably):
        (self.synced_by_write.add if durably else self.synced_by_write.discard)(descriptor)

    def _finish(self, thread, rest):
        durably = self.opening.pop(thread, None)
        if durably is not None:
            if opened := OPENED.search(rest):
                self._opened(opened[1], durably)
            return
        call, file, counted = self.running.pop(thread, (None, None, 0))
        result = RESULT.search(rest)
        value = int(result[1]) if result else -1
        if call is None or value < 0:
            return
        if call in READS:
            self.read_bytes += value
        elif call in SENDS:
            self.sent_bytes += value
            if self.acknowledged() > counted:
                self.early.append((self.acknowledged(), counted))
        elif call in WRITES:
            self.written[file] = counted
        elif call in SYNCS or call == "durable write":
            self.syncs += 1
            self.durable = max(self.durable, counted)


class AckOrder(Case):
    def test_the_reader_of_traces_sees_an_early_acknowledgement(self):
        """Goal: the test below can fail. Method: short traces, all but one wrong."""
        connection = "127.0.0.1:1883->127.0.0.1:5"
        read = f'7 recvfrom(9<TCP:[{connection}]>, ""..., 65536, 0, NULL, NULL) = '
        send = f"7 sendmsg(9<TCP:[{connection}]>, {{msg_iov=[...], msg_iovlen=1}}, MSG_NOSIGNAL) = 4"
        write = '8 pwrite64(5</s/1.seg>, ""..., 4096, 8192 <unfinished ...>'
        written = "8 <... pwrite64 resumed>) = 4096"
        sync = "8 fdatasync(5</s/1.seg>) = 0"
        failed = "8 fdatasync(5</s/1.seg>) = -1 EIO (Input/output error)"
        opening = [read + "20", send]
        message = read + "50"
        other = ['6 pwrite64(4</s/2.seg>, ""..., 262144, 0) = 262144', "6 fdatasync(4</s/2.seg>) = 0"]
        good = [*opening, message, write, written, *other, sync, send]
        opened = '8 openat(4</s>, ""..., O_RDWR|O_NOFOLLOW|O_DIRECT|O_DSYNC|O_CLOEXEC, 0600) = 5</s/1.seg>'
        reused = '8 openat(4</s>, ""..., O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5</s/1.seg>'
        direct = [*opening, opened, message, write, written, send]
        direct_too_early = [*opening, opened, message, write, send, written]
        direct_no_more = [*opening, opened, reused, message, write, written, send]
        read_too_late = [*opening, write, message, written, sync, send]
        sync_failed = [*opening, message, write, written, failed, send]
        sync_of_another = [*opening, message, write, written, *other, send]
        for trace, early in ((good, 0), (read_too_late, 1), (sync_failed, 1), (sync_of_another, 1)) + (
            (direct, 0),
            (direct_too_early, 1),
            (direct_no_more, 1),
        ):
            order = Order(connection, 20, 50)
            for line in trace:
                order.line(line)
            self.assertEqual((early, 1), (len(order.early), order.acknowledged()))

    @unittest.skipUnless(STRACE, "strace is not installed")
    def test_no_puback_before_its_sync(self):
        """Goal: no PUBACK leaves before the sync that covers its message has returned. Method: strace, one message in
        flight and then many; the trace is judged afterwards."""
        if not strace_works():
            self.skipTest("strace does not work here (ptrace is not permitted)")
        node = self.node("node")
        trace = self.directory / "trace"
        wrap = [STRACE, "-D", "-f", "-qq", "-yy", "-s", "0", "-o", trace]
        wrap += ["-e", "trace=" + ",".join(sorted(READS | SENDS | WRITES | SYNCS | OPENS))]
        node.start(wrap=wrap, seconds=40)
        # The session that makes the messages worth keeping.
        away = self.client(node.port, "away", subscribe=[("a/#", 1)]).open()
        away.abort()
        payload = "." * 64
        publisher = self.client(node.port, "publisher", version=V311, window=50).open()
        for _ in range(100):
            publisher.publish("a/x", payload, qos=1, seconds=30)
        left = [2000]

        def source():
            left[0] -= 1
            return ("a/x", payload, 1) if left[0] >= 0 else None

        publisher.source = source
        publisher.kick()
        publisher.wait_until("2,100 acknowledgements", lambda: len(publisher.acknowledged) >= 2100, 60)
        address = publisher._socket.getsockname()[1]
        publisher.abort()
        node.stop()
        wait_for("strace to finish its file", lambda: self._settled(trace), 20, every_s=0.3)
        connect_bytes = 2 + 10 + 2 + len("publisher")
        publish_bytes = 2 + 2 + len("a/x") + 2 + len(payload)
        order = Order(f"127.0.0.1:{node.port}->127.0.0.1:{address}", connect_bytes, publish_bytes)
        for line in trace.read_text(errors="replace").splitlines():
            order.line(line)
        self.assertGreaterEqual(order.received(), 2100, "the trace has another form than this test expects")
        self.assertEqual(2100, order.acknowledged())
        self.assertEqual([], order.early[:5], "(acknowledged, durable)")
        self.note = f"2,100 acknowledgements, {order.syncs} syncs, none early"

    @staticmethod
    def _settled(path):
        size = path.stat().st_size
        time.sleep(0.3)
        return path.stat().st_size == size
