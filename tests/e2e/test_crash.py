"""SIGKILL at random instants, and what was acknowledged before it. (SIGKILL leaves the page cache alone: that data also
survives a power cut is the simulator's to show, and test_ack_order's.)"""

import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

from harness import LOOPBACK, Case, end, free_port, spawn, wait_for
from mqtt import V5, V311
from processes import REPLAY, accepts
from traffic import Collector, Publisher, Verdict

KILLS = int(os.environ.get("E2E_KILLS", 20))


class Mosquitto:
    """Debian's mosquitto with persistence. It acknowledges from memory, so the judge has to find losses."""

    name = "mosquitto"

    def __init__(self, directory):
        self.port = free_port()
        self.directory = pathlib.Path(directory)
        self.directory.mkdir()
        self.config = self.directory / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} {LOOPBACK}\nallow_anonymous true\nuser root\npersistence true\n"
            f"persistence_location {self.directory}/\nautosave_interval 1800\nmax_queued_messages 0\n"
            "max_inflight_messages 1000\n"
        )
        self.process = None

    def start(self):
        self.process = spawn(["mosquitto", "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("mosquitto to listen", lambda: accepts(self.port), 10)

    def kill(self):
        self.process.kill()
        self.process.wait(5)

    def stop(self):
        end(self.process, 5)


class Crash(Case):
    def kill_again_and_again(self, victim, kills, publishers):
        """Kills and restarts `victim` while the publishers publish."""
        for _ in range(kills):
            time.sleep(self.random.uniform(0.03, 0.35))
            victim.kill()
            victim.start()
        for publisher in publishers:
            publisher.client.wait_until(f"{publisher.name} to be connected again", publisher.client.connected, 15)
        time.sleep(0.2)

    def publishers(self, port, topic):
        """Both versions, both QoS; the windows differ, so that one waits for each acknowledgement and one does not."""
        made = [
            Publisher(port, "one-311", topic, qos=1, version=V311, window=32),
            Publisher(port, "two-311", topic, qos=2, version=V311, window=32),
            Publisher(port, "one-5", topic, qos=1, version=V5, window=1),
            Publisher(port, "two-5", topic, qos=2, version=V5, window=5),
        ]
        for publisher in made:
            self.keep(publisher.client.abort)
            publisher.start()
        return made

    def collector(self, port, client_id, topic_filter, **options):
        collector = Collector(port, client_id, topic_filter, **options)
        self.keep(collector.client.abort)
        return collector.start()

    def finish(self, publishers, collectors, seconds=30):
        """Ends the publishing and waits for what is acknowledged; a loss shows as what has not come by then."""
        for publisher in publishers:
            publisher.stop(seconds)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not all(c.has(p) for c in collectors for p in publishers):
            time.sleep(0.05)
        time.sleep(0.3)  # What comes twice comes late.

    def judge(self, publishers, collector, repeats_allowed=False):
        verdicts = [Verdict(publisher, collector) for publisher in publishers]
        faults = [fault for verdict in verdicts for fault in verdict.faults(repeats_allowed)]
        for verdict in verdicts:
            self.assertGreater(verdict.acknowledged, 10, f"too little happened: {verdict}")
        self.assertEqual([], collector.strange)
        self.assertEqual([], faults, "\n    ".join(["", *map(str, verdicts)]))
        return sum(verdict.acknowledged for verdict in verdicts)

    def visitor(self, port, topic_filter):
        """A session that is away while things happen. Method: it connects once, and comes back in the end."""
        visitor = self.collector(port, "visitor", topic_filter, reconnect=False)
        visitor.client.abort()
        return visitor

    def test_site_killed_while_publishing(self):
        """Goal: nothing acknowledged is lost, QoS 2 is exactly once and in order: at the hub, for a subscriber at the site,
        and for a session that was away all the time. Method: 20 kills at random instants; four publishers of our own and
        one on libmosquitto (the story's) go on through all of it."""
        hub = self.hub()
        site = self.site(hub).start()
        self.wait_online(site)
        at_hub = self.collector(hub.port, "at-hub", "site/#")
        at_site = self.collector(site.port, "at-site", "site/#")
        visitor = self.visitor(site.port, "site/#")
        publishers = self.publishers(site.port, "site/x")
        messages = self.directory / "messages"
        messages.write_text("".join(f"{number * 3}\treal {number} {'.' * 64}\n" for number in range(2000)))
        replay = spawn(
            [REPLAY, "--port", site.port, "--id", "real", "--topic", "site/real", "--file", messages],
            stdout=subprocess.DEVNULL,
        )
        self.keep(lambda: end(replay, 2))
        self.kill_again_and_again(site, KILLS, publishers)
        self.finish(publishers, [at_hub, at_site])
        total = self.judge(publishers, at_hub)
        self.judge(publishers, at_site, repeats_allowed=True)
        self.assertEqual(0, replay.wait(30), "the client on libmosquitto has its acknowledgements")
        for collector in (at_hub, at_site):
            wait_for("the last of them", lambda: len(collector.arrived["real"]) >= 2000, 20)
            self.assertEqual(list(range(2000)), collector.arrived["real"])
        visitor.client.reconnect = True
        visitor.client.open()
        self.assertTrue(visitor.client.connack.session_present)
        self.finish(publishers, [visitor])
        self.judge(publishers, visitor)
        self.note = f"{KILLS} kills, {total + 2000:,} acknowledged, 0 lost"

    def test_hub_killed_while_a_site_sends(self):
        """Goal: the same at the hub, which receives over the link. Method: the hub is killed; its subscriber reconnects."""
        hub = self.hub()
        site = self.site(hub).start()
        self.wait_online(site)
        at_hub = self.collector(hub.port, "at-hub", "site/#")
        publishers = self.publishers(site.port, "site/x")
        # The site's backoff grows while the hub dies again and again; that is right, and not what is tested.
        for _ in range(KILLS):
            time.sleep(self.random.uniform(0.03, 0.35))
            hub.kill()
            hub.start()
            site.command("connect")
        self.finish(publishers, [at_hub], 60)
        total = self.judge(publishers, at_hub, repeats_allowed=True)
        self.note = f"{KILLS} kills, {total:,} acknowledged, 0 lost"

    def test_both_killed_and_the_link_flaps(self):
        """Goal: the same with everything at once. Method: hub, site and link in random order, half as often."""
        hub = self.hub()
        link = self.link(hub.port)
        site = self.site(hub, port=link.port).start()
        self.wait_online(site)
        at_hub = self.collector(hub.port, "at-hub", "site/#")
        publishers = self.publishers(site.port, "site/x")
        for _ in range(KILLS // 2):
            time.sleep(self.random.uniform(0.03, 0.3))
            victim = self.random.choice([hub, site, link])
            if victim is link:
                link.cut()
                time.sleep(self.random.uniform(0.03, 0.3))
                link.mend(forget=self.random.random() < 0.3)
            else:
                victim.kill()
                victim.start()
            site.command("connect")
        for publisher in publishers:
            publisher.client.wait_until(f"{publisher.name} to be connected again", publisher.client.connected, 15)
        self.finish(publishers, [at_hub], 60)
        total = self.judge(publishers, at_hub, repeats_allowed=True)
        self.note = f"{total:,} acknowledged, 0 lost"

    def test_killed_while_starting(self):
        """Goal: recovery that is killed is recovered. Method: SIGKILL within the first milliseconds of a start, again and
        again, over a store with a backlog."""
        node = self.hub()
        sender = self.client(node.port, "sender").open()
        away = self.client(node.port, "away", subscribe=[("k/#", 2)]).open()
        away.abort()
        for number in range(300):
            sender.publish("k/x", f"{number} {'.' * 500}", qos=1 + number % 2)
        node.kill()
        for _ in range(15):
            node.start(wait=False)
            time.sleep(self.random.uniform(0.0, 0.04))
            node.kill()
        node.start()
        away.open()
        away.wait_until("300 messages", lambda: len(away.messages) >= 300, 20)
        self.assertEqual(list(range(300)), [int(message.payload.split(b" ")[0]) for message in away.messages])

    def test_a_stopped_node_wakes_up(self):
        """Goal: a node that stood still (SIGSTOP, a suspended machine) goes on as if nothing had been. Method: 3 s."""
        hub = self.hub()
        site = self.site(hub).start()
        self.wait_online(site)
        at_hub = self.collector(hub.port, "at-hub", "site/#")
        publishers = self.publishers(site.port, "site/x")
        time.sleep(0.5)
        site.process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        site.process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        self.finish(publishers, [at_hub])
        self.judge(publishers, at_hub)

    @unittest.skipUnless(shutil.which("mosquitto"), "mosquitto is not installed (scripts/install.sh build test)")
    def test_the_judge_finds_losses_in_mosquitto(self):
        """Goal: the test above can fail. Method: the same publishers, kills and judge with a broker that acknowledges what
        it has in memory only (persistence on, as Debian configures it): it must be found to lose what it acknowledged."""
        broker = Mosquitto(self.directory / "mosquitto")
        self.keep(broker.stop)
        broker.start()
        at_site = self.collector(broker.port, "at-site", "site/#")
        visitor = self.visitor(broker.port, "site/#")
        publishers = self.publishers(broker.port, "site/x")
        self.kill_again_and_again(broker, 3, publishers)
        self.finish(publishers, [at_site], 3)
        visitor.client.reconnect = True
        visitor.client.open()
        self.finish(publishers, [visitor], 1)
        verdicts = [Verdict(publisher, visitor) for publisher in publishers]
        acknowledged = sum(verdict.acknowledged for verdict in verdicts)
        lost = sum(len(verdict.lost) for verdict in verdicts)
        self.assertGreater(lost, 0, "a broker that acknowledges from memory was not found to lose anything")
        self.assertNotEqual([], [fault for verdict in verdicts for fault in verdict.faults()])
        self.note = f"3 kills, {acknowledged:,} acknowledged, {lost:,} of them lost, as it should find"
