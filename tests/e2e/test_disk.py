"""Disks that are full, and disks that fail."""

import contextlib
import os
import shutil
import subprocess
import time
import unittest

from harness import Case, publish, wait_for
from mqtt import V5, V311, Refused

STRACE = shutil.which("strace")


def strace_works():
    return STRACE and subprocess.run([STRACE, "-o", "/dev/null", "true"], capture_output=True).returncode == 0


class Disk(Case):
    def small_disk(self, size):
        """A directory on a file system of its own of that size."""
        place = self.directory / "small"
        place.mkdir()
        as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        mount = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "holdfast-e2e", str(place)]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f"cannot mount a tmpfs: {done.stderr.strip()}")
        self.keep(lambda: subprocess.run([*as_root, "umount", "-l", str(place)], check=True))
        return place

    def fill(self, client, label, acknowledged, seconds=60):
        """Publishes until the node says no; returns the reason (MQTT 5) or None when it closed the connection."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            number = len(acknowledged)
            payload = f"{number} {label} ".encode() + self.random.randbytes(40_000)
            try:
                client.publish("site/x", payload, qos=1 + number % 2)
            except Refused as refused:
                return refused.reason
            except OSError:
                return None
            acknowledged.append(payload)
        self.fail(f"{len(acknowledged)} messages and the disk is still not full")

    def test_a_full_disk_refuses_and_recovers(self):
        """Goal: a site whose disk is full refuses new messages (0x97, or a closed connection), goes on with everything
        else, takes messages again when its hub has taken the old ones, and lost nothing that it acknowledged. Method: a
        small tmpfs; MQTT 5 fills it, 3.1.1 tries; SIGKILL while full."""
        hub = self.hub()
        place = self.small_disk("40m")
        claim = hub.claim_for("site", self.directory / "site.claim")
        site = self.node("site", directory=place / "site", claim=claim, upstream_port=hub.port)
        site.log_path = self.directory / "site.log"
        hub.stop()
        site.start()
        accepted = []
        sender = self.client(site.port, "sender", version=V5).open()
        self.assertEqual(0x97, self.fill(sender, "before", accepted))
        said = self.wait_state(site, "full")
        self.assertIn("Full", said["sentence"])
        self.assertEqual(4, site.command("status").returncode)
        self.assertTrue(sender.connected())
        filled = len(accepted)
        self.assertGreater(filled * 40_000, 10_000_000, "a reserve is one thing, most of the disk another")
        old = self.client(site.port, "old", version=V311).open()
        self.assertIsNone(self.fill(old, "3.1.1", accepted))
        # QoS 0 goes on for those on site, although nobody can keep it for the hub now.
        alive = self.client(site.port, "alive", version=V5, clean=True).open()
        self.assertLess(alive.subscribe("live/#", 0), 3)
        alive.publish("live/x", self.random.randbytes(40_000), qos=0)
        alive.wait_until("a message of QoS 0", lambda: alive.messages)
        # A full node that dies starts again, and is still full.
        site.kill()
        site.start()
        again = self.client(site.port, "again", version=V5).open()
        self.assertEqual(0x97, self.fill(again, "after SIGKILL", accepted))
        self.wait_state(site, "full")
        # The hub comes back and takes what it is owed.
        hub.start()
        at_hub = self.client(hub.port, "at-hub", version=V5, subscribe=[("site/#", 2)]).open()
        site.command("connect")
        at_hub.wait_until("everything that was acknowledged", lambda: len(at_hub.messages) >= len(accepted), 60)
        self.assertEqual(accepted, [message.payload for message in at_hub.messages])
        self.wait_state(site, "online")
        sender = self.client(site.port, "sender", version=V5).open()

        def takes_again():
            try:
                return sender.publish("site/x", b"after", qos=1) is not None
            except Refused:
                return False

        wait_for("the site to take messages again", takes_again, 30, every_s=0.2)
        at_hub.wait_until("the first new message", lambda: at_hub.messages[-1].payload == b"after", 20)
        self.note = f"{len(accepted)} messages of 40 kB, {filled} before the first refusal, 0 lost"

    def test_a_full_hub_makes_its_sites_wait(self):
        """Goal: a hub whose disk is full refuses batches; its sites keep what they have, and when somebody makes room all of
        it arrives, once, in order. Method: a file that fills the hub's disk, and is removed."""
        place = self.small_disk("24m")
        hub = self.node("hub", directory=place / "hub")
        hub.log_path = self.directory / "hub.log"
        hub.start()
        site = self.site(hub).start()
        self.wait_online(site)
        at_hub = self.client(hub.port, "at-hub", reconnect=True, subscribe=[("site/#", 2)]).open()
        sender = self.client(site.port, "sender", version=V5).open()
        sender.publish("site/x", b"0 before", qos=2)
        at_hub.wait_until("a message", lambda: at_hub.messages)
        filler = place / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        payloads = [b"%d " % number + self.random.randbytes(40_000) for number in range(1, 250)]
        sender.publish_all(("site/x", payload, 1 + number % 2) for number, payload in enumerate(payloads))
        self.wait_state(hub, "full")
        said = site.status()
        self.assertGreater(said["link"]["backlog_count"], 100)
        self.assertEqual({}, sender.refused, "the site has room of its own")
        taken = len(at_hub.messages)
        filler.unlink()
        at_hub.wait_until("everything", lambda: len(at_hub.messages) >= 250, 60)
        self.assertEqual([b"0 before", *payloads], [message.payload for message in at_hub.messages])
        self.wait_state(hub, "hub")
        self.note = f"{taken} of 250 while it was full, the rest when there was room"

    def traced(self, node, *inject):
        """Starts the node with system calls that fail."""
        if not strace_works():
            self.skipTest("strace does not work here")
        wrap = [STRACE, "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", *inject]
        return node.start(wrap=wrap, seconds=40)

    @unittest.skipUnless(STRACE, "strace is not installed")
    def test_one_failed_sync_is_survived(self):
        """Goal: after one durable write that failed the node says `degraded`, goes on, and lost nothing that it acknowledged.
        Method: strace makes the 40th one of each thread fail, once."""
        node = self.node("node")
        self.traced(node, "inject=pwrite64:error=EIO:when=40")
        accepted = self.publish_until_state(node, "degraded")
        self.assertEqual(4, node.command("status").returncode)
        sender = self.client(node.port, "more").open()
        for number in range(100):
            sender.publish("d/x", f"more {number}", qos=1)
            accepted.append(f"more {number}".encode())
        node.kill()
        node.start()
        self.assert_kept(node, accepted)

    @unittest.skipUnless(STRACE, "strace is not installed")
    def test_a_disk_that_stays_broken(self):
        """Goal: when every durable write fails, nothing is acknowledged any more, reading and QoS 0 go on, and status says what to do.
        Method: strace makes the 40th pwrite64 of each thread fail, and all after it."""
        node = self.node("node")
        self.traced(node, "inject=pwrite64:error=EIO:when=40+")
        watcher = self.client(node.port, "watcher", clean=True).open()
        watcher.subscribe("live/#", 0)
        accepted = self.publish_until_state(node, "storage-failed")
        said = node.status()
        self.assertIn("Check the disk", said["sentence"])
        publish(node.port, "live/x", "still here")
        watcher.wait_until("a message of QoS 0", lambda: watcher.messages)
        five = self.client(node.port, "five", version=V5, clean=True).open()
        with self.assertRaises((Refused, OSError)):
            five.publish("d/x", "not safe", qos=1)
        node.kill()
        node.start()
        self.assert_kept(node, accepted)

    def publish_until_state(self, node, state):
        """Returns what was acknowledged; the session `away` is owed it."""
        away = self.client(node.port, "away", subscribe=[("d/#", 1)]).open()
        away.abort()
        accepted = []
        asked = time.monotonic()
        sender = self.client(node.port, "sender", version=V5).open()
        for number in range(5000):
            try:
                sender.publish("d/x", str(number), qos=1, seconds=5)
                accepted.append(str(number).encode())
            except (Refused, OSError, TimeoutError):
                break
            if time.monotonic() - asked > 0.3:
                asked = time.monotonic()
                if node.status().get("state") == state:
                    break
        self.wait_state(node, state, 10)
        self.assertGreater(len(accepted), 5)
        return accepted

    def assert_kept(self, node, accepted):
        away = self.client(node.port, "away").open()
        self.assertTrue(away.connack.session_present)
        away.wait_until("what was acknowledged", lambda: set(accepted) <= {m.payload for m in away.messages}, 20)
        order = [message.payload for message in away.messages if message.payload in set(accepted)]
        self.assertEqual(accepted, order)
