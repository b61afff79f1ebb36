"""A small MQTT client for tests, 3.1.1 and 5.0, that keeps its session across connections as the standard asks.

It exists because the tests must know exactly what was acknowledged and what was sent again, and because the library under
Debian's clients does not recognise a QoS 2 PUBLISH that comes again after a broken connection: as a receiver it would count
a broker's correct behaviour as a double.

    publisher: QoS 2 is PUBLISH until PUBREC, then PUBREL until PUBCOMP; after a reconnect what is open is sent again, in order
    receiver:  QoS 2 is taken at the first PUBLISH of an identifier and known until its PUBREL [MQTT-4.3.3, method B]
"""

import collections
import socket
import struct
import threading
import time

V311 = 4
V5 = 5

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP,
 DISCONNECT) = range(1, 15)  # fmt: skip

SESSION_EXPIRY = 0x11
REASON_STRING = 0x1F
RECEIVE_MAXIMUM = 0x21
USER_PROPERTY = 0x26
SHARED_SUBSCRIPTION_AVAILABLE = 0x2A

# Property -> how its value is encoded: b 1 byte, h 2, i 4, v variable, s string, d bytes, p pair of strings.
_PROPERTY_KINDS = {
    0x01: "b", 0x02: "i", 0x03: "s", 0x08: "s", 0x09: "d", 0x0B: "v", 0x11: "i", 0x12: "s", 0x13: "h", 0x15: "s", 0x16: "d",
    0x17: "b", 0x18: "i", 0x19: "b", 0x1A: "s", 0x1C: "s", 0x1F: "s", 0x21: "h", 0x22: "h", 0x23: "h", 0x24: "b", 0x25: "b",
    0x26: "p", 0x27: "i", 0x28: "b", 0x29: "b", 0x2A: "b",
}  # fmt: skip

Message = collections.namedtuple("Message", "topic payload qos retain dup properties")
Connack = collections.namedtuple("Connack", "session_present reason properties")


class Refused(Exception):
    """The broker said no; `reason` is its code."""

    def __init__(self, what, reason):
        super().__init__(f"{what} refused with 0x{reason:02x}")
        self.reason = reason


def _varint(number):
    out = b""
    while True:
        number, digit = number >> 7, number & 0x7F
        if not number:
            return out + bytes([digit])
        out += bytes([digit | 0x80])


def _string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(data)) + data


def _properties(pairs):
    out = b""
    for identifier, value in pairs or ():
        kind = _PROPERTY_KINDS[identifier]
        out += bytes([identifier])
        if kind in "bhi":
            out += struct.pack({"b": ">B", "h": ">H", "i": ">I"}[kind], value)
        elif kind == "v":
            out += _varint(value)
        elif kind == "p":
            out += _string(value[0]) + _string(value[1])
        else:
            out += _string(value)
    return _varint(len(out)) + out


class _Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        self.at += size
        if self.at > len(self.data):
            raise ValueError("a packet that is too short")
        return self.data[self.at - size : self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def varint(self):
        number = shift = 0
        while True:
            digit = self.u8()
            number |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return number

    def text(self):
        return self.take(self.u16())

    def rest(self):
        return self.take(len(self.data) - self.at)

    def properties(self):
        end = self.varint() + self.at
        pairs = []
        while self.at < end:
            identifier = self.u8()
            kind = _PROPERTY_KINDS[identifier]
            if kind == "b":
                value = self.u8()
            elif kind == "h":
                value = self.u16()
            elif kind == "i":
                value = struct.unpack(">I", self.take(4))[0]
            elif kind == "v":
                value = self.varint()
            elif kind == "p":
                value = (self.text().decode(), self.text().decode())
            else:
                value = self.text()
            pairs.append((identifier, value))
        return pairs


class _Outgoing:
    """A message of ours that is not acknowledged to the end."""

    def __init__(self, number, packet, qos):
        self.number = number  # The caller's own.
        self.packet = packet
        self.qos = qos
        self.received = False  # PUBREC was there.


class Client:
    """One client and its session. Its thread reads; everybody may call the rest.

    `source` gives (topic, payload, qos) or None when it has nothing now; it is asked while the window has room. Publishes
    have a number, in the order in which they were given: `acknowledged` holds those the broker took responsibility for
    (PUBACK, PUBREC), `refused` those it refused (MQTT 5) with the reason, `repeated` those that were sent again.
    """

    def __init__(self, port, client_id, version=V311, clean=False, expiry_s=3600, reconnect=False, source=None, window=32,
                 receive_maximum=None, keep_alive_s=60, will=None, on_message=None, subscribe=(), user=None):  # fmt: skip
        self.port = port
        self.client_id = client_id
        self.version = version
        self.clean = clean
        self.expiry_s = 0 if clean else expiry_s
        self.reconnect = reconnect
        self.source = source
        self.window = window
        self.receive_maximum = receive_maximum
        self.keep_alive_s = keep_alive_s
        self.will = will  # (topic, payload, qos, retain)
        self.user = user  # (name, password)
        self.on_message = on_message
        self.subscriptions = list(subscribe)  # (filter, qos), subscribed after each CONNACK without a session.
        self._subscribing = set()  # Their packet identifiers, until SUBACK.

        self.messages = []
        self.published = 0
        self.acknowledged = set()
        self.refused = {}
        self.repeated = set()
        self.connects = 0
        self.sessions_lost = 0
        self.connack = None
        self.disconnect_reason = None  # Of the broker's DISCONNECT.
        self.error = None  # Of the client's thread: a broken broker, or a broken test.

        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._socket = None
        self._connected = False
        self._closing = False
        self._identifier = 0
        self._out = collections.OrderedDict()  # Packet identifier -> _Outgoing
        self._known = set()  # Identifiers of QoS 2 that came and were not released.
        self._waiting = {}  # Packet identifier -> answer of SUBACK or UNSUBACK
        self._thread = None

    # --- For tests.

    def open(self, seconds=10):
        """Connects, and waits for the subscriptions. Raises Refused, or OSError when nobody listens or the broker hangs up."""
        self._closing = False
        self.connack = self.error = None
        self._thread = threading.Thread(target=self._live, name=self.client_id, daemon=True)
        self._thread.start()
        self._wait("CONNACK", lambda: self.connack or self.error, seconds)
        if self.connack is None:
            raise self.error if isinstance(self.error, OSError) else OSError(str(self.error))
        if self.connack.reason:
            raise Refused("CONNECT", self.connack.reason)
        self._wait("SUBACK", lambda: not self._subscribing, seconds)
        return self

    def publish(self, topic, payload, qos=0, retain=False, properties=(), seconds=10):
        """Publishes and waits for the acknowledgement. Raises Refused (MQTT 5) or OSError."""
        with self._lock:
            if not self._connected:
                raise OSError("not connected")
            number = self._publish(topic, payload, qos, retain, properties)
            if qos == 0:
                return number
            self._wait(
                "the acknowledgement",
                lambda: number in self.acknowledged or number in self.refused or not self._connected,
                seconds,
            )
            if number in self.refused:
                raise Refused("PUBLISH", self.refused[number])
            if number not in self.acknowledged:
                raise OSError("closed before the acknowledgement")
            return number

    def publish_all(self, messages, seconds=60):
        """Publishes (topic, payload, qos) after (topic, payload, qos), as fast as acknowledgements come, and waits for the
        last of them. Raises OSError if the connection breaks."""
        waiting = iter(messages)
        self.source = lambda: next(waiting, None)
        self.kick()
        self._wait("the acknowledgements", lambda: not self._out or not self._connected, seconds)
        self.source = None
        if self._out:
            raise OSError("closed before the last acknowledgement")

    def subscribe(self, topic_filter, qos=0, seconds=10):
        """The granted QoS, or the reason code of a refusal (0x80 and more)."""
        with self._lock:
            identifier = self._next_identifier()
            body = struct.pack(">H", identifier)
            body += _properties(()) if self.version == V5 else b""
            self._send(SUBSCRIBE, 2, body + _string(topic_filter) + bytes([qos]))
            self._wait("SUBACK", lambda: identifier in self._waiting or not self._connected, seconds)
            if identifier not in self._waiting:
                raise OSError("closed before SUBACK")
            return self._waiting.pop(identifier)[0]

    def wait_until(self, what, condition, seconds=10):
        self._wait(what, condition, seconds)

    def drained(self):
        """Nothing of ours waits for an acknowledgement."""
        with self._lock:
            return not self._out

    def connected(self):
        return self._connected

    def kick(self):
        """Asks the source again, after it had nothing."""
        with self._lock:
            self._fill()

    def disconnect(self):
        with self._lock:
            self._closing = True
            if self._connected:
                self._send(DISCONNECT, 0, b"")
        self._hang_up()

    def abort(self):
        """Goes without a word: the broker sees a broken connection."""
        self._closing = True
        self._hang_up()

    # --- The thread.

    def _live(self):
        while True:
            try:
                self._connect()
                self._read()
            except (OSError, ValueError, KeyError) as error:
                self.error = error
            with self._lock:
                self._connected = False
                if self._socket:
                    self._socket.close()
                    self._socket = None
                self._changed.notify_all()
            if self._closing or not self.reconnect:
                return
            time.sleep(0.02)

    def dial(self):
        """A connected socket; a test may put something around it."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(None)
        return made

    def _connect(self):
        made = self.dial()
        flags = 2 if self.clean else 0
        properties = b""
        if self.version == V5:
            pairs = [(SESSION_EXPIRY, self.expiry_s)] if self.expiry_s else []
            if self.receive_maximum:
                pairs.append((RECEIVE_MAXIMUM, self.receive_maximum))
            properties = _properties(pairs)
        payload = _string(self.client_id)
        if self.will:
            topic, content, qos, retain = self.will
            flags |= 4 | qos << 3 | retain << 5
            payload += (_properties(()) if self.version == V5 else b"") + _string(topic) + _string(content)
        if self.user:
            flags |= 0xC0
            payload += _string(self.user[0]) + _string(self.user[1])
        body = _string("MQTT") + struct.pack(">BBH", self.version, flags, self.keep_alive_s) + properties + payload
        with self._lock:
            self._socket = made
            self._send(CONNECT, 0, body)

    def _read(self):
        data = b""
        while True:
            more = self._socket.recv(65536)
            if not more:
                raise OSError("the broker closed the connection")
            data += more
            at = 0
            with self._lock:
                while True:
                    packet, size = self._cut(data, at)
                    if packet is None:
                        break
                    self._take(*packet)
                    at += size
                self._fill()
                self._changed.notify_all()
            data = data[at:]

    @staticmethod
    def _cut(data, at):
        """The next whole packet: ((kind, flags, body), size), or (None, 0)."""
        size = shift = 0
        for index in range(1, 5):
            if at + index >= len(data):
                return None, 0
            digit = data[at + index]
            size |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                end = at + index + 1 + size
                if end > len(data):
                    return None, 0
                return (data[at] >> 4, data[at] & 15, data[at + index + 1 : end]), end - at
        raise ValueError("a remaining length of five bytes")

    def _take(self, kind, flags, body):
        reader = _Reader(body)
        if kind == CONNACK:
            present, reason = reader.u8() & 1, reader.u8()
            properties = reader.properties() if self.version == V5 and reader.at < len(body) else []
            if reason == 0:
                self._resume(bool(present))
            self.connack = Connack(bool(present), reason, properties)
        elif kind == PUBLISH:
            self._take_publish(flags, reader)
        elif kind in (PUBACK, PUBREC, PUBCOMP):
            identifier = reader.u16()
            reason = reader.u8() if len(body) > 2 else 0
            self._take_acknowledgement(kind, identifier, reason)
        elif kind == PUBREL:
            identifier = reader.u16()
            self._known.discard(identifier)
            self._send(PUBCOMP, 0, struct.pack(">H", identifier))
        elif kind in (SUBACK, UNSUBACK):
            identifier = reader.u16()
            if self.version == V5:
                reader.properties()
            self._waiting[identifier] = reader.rest()
            self._subscribing.discard(identifier)
        elif kind == DISCONNECT:
            self.disconnect_reason = reader.u8() if body else 0
        elif kind != PINGRESP:
            raise ValueError(f"packet of kind {kind} from a broker")

    def _resume(self, present):
        if self.connects and not self.clean and not present:
            self.sessions_lost += 1
        self.connects += 1
        self._connected = True
        if not present:
            self._known.clear()
            self._subscribing.clear()
            for topic_filter, qos in self.subscriptions:
                identifier = self._next_identifier()
                self._subscribing.add(identifier)
                body = struct.pack(">H", identifier)
                body += _properties(()) if self.version == V5 else b""
                self._send(SUBSCRIBE, 2, body + _string(topic_filter) + bytes([qos]))
        for identifier, outgoing in self._out.items():
            if outgoing.received:
                self._send(PUBREL, 2, struct.pack(">H", identifier))
            else:
                self.repeated.add(outgoing.number)
                self._send(PUBLISH, 8 | outgoing.packet[0], outgoing.packet[1])

    def _take_publish(self, flags, reader):
        qos = flags >> 1 & 3
        topic = reader.text().decode()
        identifier = reader.u16() if qos else 0
        properties = reader.properties() if self.version == V5 else []
        message = Message(topic, reader.rest(), qos, bool(flags & 1), bool(flags & 8), properties)
        if not (qos == 2 and identifier in self._known):
            self.messages.append(message)
            if self.on_message:
                self.on_message(message)
        if qos == 1:
            self._send(PUBACK, 0, struct.pack(">H", identifier))
        elif qos == 2:
            self._known.add(identifier)
            self._send(PUBREC, 0, struct.pack(">H", identifier))

    def _take_acknowledgement(self, kind, identifier, reason):
        outgoing = self._out.get(identifier)
        if outgoing is None:
            if kind == PUBREC:  # Of a session that we have finished with; the broker wants to hear it.
                self._send(PUBREL, 2, struct.pack(">H", identifier))
            return
        if reason >= 0x80:
            self.refused[outgoing.number] = reason
            del self._out[identifier]
        elif kind == PUBREC:
            self.acknowledged.add(outgoing.number)
            outgoing.received = True
            self._send(PUBREL, 2, struct.pack(">H", identifier))
        else:
            self.acknowledged.add(outgoing.number)
            del self._out[identifier]

    # --- Sending; the lock is held.

    def _fill(self):
        while self._connected and self.source and len(self._out) < self.window:
            given = self.source()
            if given is None:
                return
            topic, payload, qos = given
            self._publish(topic, payload, qos)

    def _publish(self, topic, payload, qos, retain=False, properties=()):
        number = self.published
        self.published += 1
        body = _string(topic)
        if qos:
            identifier = self._next_identifier()
            body += struct.pack(">H", identifier)
        if self.version == V5:
            body += _properties(properties)
        body += payload.encode() if isinstance(payload, str) else payload
        flags = qos << 1 | int(retain)
        if qos:
            self._out[identifier] = _Outgoing(number, (flags, body), qos)
        self._send(PUBLISH, flags, body)
        return number

    def _next_identifier(self):
        while True:
            self._identifier = self._identifier % 65535 + 1
            if self._identifier not in self._out:
                return self._identifier

    def _send(self, kind, flags, body):
        if self._socket is None:
            return
        try:
            self._socket.sendall(bytes([kind << 4 | flags]) + _varint(len(body)) + body)
        except OSError:
            pass  # The reader sees it too, and decides.

    def _hang_up(self):
        with self._lock:
            if self._socket:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(5)

    def _wait(self, what, condition, seconds):
        with self._lock:
            if not self._changed.wait_for(condition, seconds):
                raise TimeoutError(f"{self.client_id}: waited {seconds:g} s for {what}")
