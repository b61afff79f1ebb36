"""Numbered messages through nodes that die, and the judge who looks at what came out.

    Publisher   a client that publishes "NAME NUMBER ..." until told to stop, over any number of connections
    Collector   a client that notes what arrives
    judge()     compares the two, and knows nothing of what lies between

What is promised: a message that was acknowledged arrives; at QoS 2 it arrives once; messages of one publisher arrive in order.
At QoS 1 a message may arrive twice where the standard allows it, that is where some sender sent it again.
"""

import collections

from mqtt import V311, Client

PADDING = b"." * 64


class Publisher:
    def __init__(self, port, name, topic, qos, version=V311, window=32):
        self.name = name
        self.topic = topic
        self.qos = qos
        self.stopped = False
        self.limit = None
        self.given = 0
        self.client = Client(
            port, name, version=version, reconnect=True, source=self._next, window=window, expiry_s=3600
        )

    def _next(self):
        if self.stopped or (self.limit is not None and self.given >= self.limit):
            return None
        number = self.given
        self.given += 1
        return self.topic, b"%s %d %s" % (self.name.encode(), number, PADDING), self.qos

    def start(self):
        self.client.open()
        return self

    def stop(self, seconds=20):
        """No new messages; waits until all that were given are acknowledged to the end."""
        self.stopped = True
        self.client.wait_until(f"the acknowledgements of {self.name}", self.client.drained, seconds)


class Collector:
    def __init__(self, port, client_id, topic_filter, qos=2, version=V311, reconnect=True):
        self.arrived = collections.defaultdict(list)  # Name of the publisher -> numbers, as they came.
        self.strange = []
        self.client = Client(
            port, client_id, version=version, reconnect=reconnect, on_message=self._take, subscribe=[(topic_filter, qos)]
        )

    def _take(self, message):
        parts = message.payload.split(b" ")
        if len(parts) == 3 and parts[1].isdigit() and parts[2] == PADDING:
            self.arrived[parts[0].decode()].append(int(parts[1]))
        else:
            self.strange.append(message.payload)
        # Only counted here; what a message was worth is in self.arrived.
        self.client.messages.clear()

    def start(self):
        self.client.open()
        return self

    def has(self, publisher):
        """All that was acknowledged to this publisher has arrived."""
        return publisher.client.acknowledged <= set(self.arrived[publisher.name])


class Verdict:
    """What became of one publisher's messages at one collector."""

    def __init__(self, publisher, collector):
        arrived = collector.arrived[publisher.name]
        counts = collections.Counter(arrived)
        acknowledged = publisher.client.acknowledged
        self.publisher = publisher
        self.acknowledged = len(acknowledged)
        self.lost = sorted(acknowledged - set(counts))
        self.doubled = sorted(number for number, count in counts.items() if count > 1)
        # At QoS 1: doubled although the publisher did not send it again.
        self.doubled_in_between = sorted(set(self.doubled) - publisher.client.repeated)
        first = list(dict.fromkeys(arrived))
        self.disordered = [later for earlier, later in zip(first, first[1:]) if later < earlier]
        self.invented = sorted(set(counts) - set(range(publisher.given)))

    def __str__(self):
        return (
            f"{self.publisher.name}: QoS {self.publisher.qos}, {self.acknowledged} acknowledged, {len(self.lost)} lost, "
            f"{len(self.doubled)} doubled ({len(self.publisher.client.repeated)} sent again), {len(self.disordered)} disordered"
        )

    def faults(self, repeats_allowed=False):
        """`repeats_allowed`: at QoS 1 the broker itself may have sent again, as its connection to the collector broke."""
        found = []
        if self.lost:
            found.append(f"lost {self.lost[:10]}")
        if self.publisher.qos == 2 and self.doubled:
            found.append(f"doubled {self.doubled[:10]}")
        if self.publisher.qos == 1 and self.doubled_in_between and not repeats_allowed:
            found.append(f"doubled, but not by the publisher {self.doubled_in_between[:10]}")
        if self.disordered:
            found.append(f"out of order {self.disordered[:10]}")
        if self.invented:
            found.append(f"invented {self.invented[:10]}")
        if self.publisher.client.sessions_lost:
            found.append(f"session forgotten {self.publisher.client.sessions_lost} times")
        return [f"{self.publisher.name}: {fault}" for fault in found]
