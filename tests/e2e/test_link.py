"""The link between a site and its hub: cut in silence, away at a restart, downwards, and with a copy of the site beside it."""

import collections
import shutil
import time

from harness import Case, Failed, Node, hub_nodes, publish, wait_for, waits
from mqtt import USER_PROPERTY, V5
from traffic import Collector, Publisher, Verdict


def numbers(messages):
    return [int(message.payload.split(b" ")[0]) for message in messages]


class Link(Case):
    def collector(self, port, client_id, topic_filter):
        collector = Collector(port, client_id, topic_filter)
        self.keep(collector.client.abort)
        return collector.start()

    def publisher(self, port, name, qos=2):
        publisher = Publisher(port, name, "site/x", qos)
        self.keep(publisher.client.abort)
        return publisher.start()

    def assert_kept(self, publishers, collector):
        for publisher in publishers:
            verdict = Verdict(publisher, collector)
            self.assertEqual([], verdict.faults(), str(verdict))
            self.assertGreater(verdict.acknowledged, 0)

    def cut_and_mended(self, forget):
        hub = self.hub()
        link = self.link(hub.port)
        site = self.site(hub, port=link.port).start()
        self.wait_online(site)
        at_hub = self.collector(hub.port, "at-hub", "site/#")
        publishers = [self.publisher(site.port, "one", 1), self.publisher(site.port, "two", 2)]
        wait_for("messages at the hub", lambda: at_hub.has(publishers[0]) and at_hub.arrived["two"], 10)
        link.cut()
        cut_at = time.monotonic()
        said = self.wait_state(site, "offline", 30)
        noticed_s = time.monotonic() - cut_at
        self.assertIn("Offline", said["sentence"])
        self.assertGreater(said["link"]["backlog_count"], 0)
        for publisher in publishers:
            before = len(publisher.client.acknowledged)
            wait_for("acknowledgements while offline", lambda: len(publisher.client.acknowledged) > before + 100, 10)
            publisher.stop()
        link.mend(forget=forget)
        mended_at = time.monotonic()
        # The site waits up to 10 s for an answer from a connection that is dead, then dials again.
        wait_for("everything to arrive", lambda: all(at_hub.has(p) for p in publishers), 40)
        drained_s = time.monotonic() - mended_at
        said = self.wait_online(site)
        time.sleep(0.3)
        self.assert_kept(publishers, at_hub)
        self.note = f"noticed after {noticed_s:.1f} s, everything there {drained_s:.1f} s after the link"

    def wait_online(self, site, seconds=20):
        return self.wait_state(site, "online", seconds)

    @waits
    def test_a_silent_cut_is_noticed_and_late_bytes_do_no_harm(self):
        """Goal: a link that dies without FIN is noticed; what was on its way may arrive late, and nothing comes twice."""
        self.cut_and_mended(forget=False)

    @waits
    def test_a_silent_cut_whose_connections_never_come_back(self):
        """Goal: the same, when the network has forgotten the old connections: both sides have to give them up themselves."""
        self.cut_and_mended(forget=True)

    @waits
    def test_an_idle_cut_is_noticed_too(self):
        """Goal: with nothing to send, the keep alive finds out. Method: 10 s of keep alive, one and a half of them."""
        hub = self.hub()
        link = self.link(hub.port)
        site = self.site(hub, port=link.port).start()
        self.wait_online(site)
        link.cut()
        began = time.monotonic()
        self.wait_state(site, "offline", 30)
        self.note = f"noticed after {time.monotonic() - began:.1f} s"
        link.mend()
        site.command("connect")
        self.wait_online(site)

    def test_restarted_while_offline(self):
        """Goal: what was kept before a restart, and after it, arrives in order when there is a hub at last; also what was
        kept before the node ever saw its hub."""
        hub = self.hub()
        site = self.site(hub)
        hub.stop()
        site.start()
        sender = self.client(site.port, "sender").open()
        for first in (0, 200, 400):
            sender.publish_all(("site/x", f"{n} {'.' * 100}", 1 + n % 2) for n in range(first, first + 200))
            sender.abort()
            if first == 200:
                self.assertEqual(0, site.stop())
            else:
                site.kill()
            site.start()
            sender.open()
        said = self.wait_state(site, "offline", 5)
        self.assertEqual(600, said["link"]["backlog_count"])
        self.assertIn("600 messages", said["sentence"])
        hub.start()
        at_hub = self.client(hub.port, "at-hub", subscribe=[("site/#", 2)]).open()
        site.command("connect")
        at_hub.wait_until("600 messages", lambda: len(at_hub.messages) >= 600, 20)
        self.assertEqual(list(range(600)), numbers(at_hub.messages))
        said = self.wait_online(site)
        wait_for("the receipts", lambda: site.status()["link"]["backlog_count"] == 0, 10)

    def test_down_to_a_site_that_is_away(self):
        """Goal: what the hub publishes for a site waits for it, through restarts of both, and arrives in order, once; what
        is for another site does not."""
        hub = self.hub()
        site = self.site(hub, down=["cmd/site/#", "cmd/all"]).start()
        self.wait_online(site)
        device = self.client(site.port, "device", reconnect=True, subscribe=[("cmd/#", 2)]).open()
        operator = self.client(hub.port, "operator", reconnect=True).open()
        operator.publish("cmd/site/now", "-1 at once", qos=2)
        device.wait_until("a command", lambda: device.messages, 10)
        site.stop()
        for number in range(100):
            operator.publish("cmd/all" if number % 10 == 0 else "cmd/site/x", f"{number} later", qos=1 + number % 2)
            operator.publish("cmd/other", "9999 not for you", qos=1)
            if number == 50:
                hub.kill()
                hub.start()
                operator.wait_until("the hub", operator.connected)
        owed = [node for node in hub_nodes(hub) if node["name"] == "site"][0]
        self.assertEqual((False, 100), (owed["connected"], owed["backlog_count"]))
        site.start()
        device.wait_until("all commands", lambda: len(device.messages) >= 101, 20)
        time.sleep(0.3)
        self.assertEqual([-1, *range(100)], numbers(device.messages))

    def test_nothing_goes_back_where_it_came_from(self):
        """Goal: a topic that is for the site and from the site does not go round in circles."""
        hub = self.hub()
        site = self.site(hub, down=["#"]).start()
        self.wait_online(site)
        watcher = self.client(site.port, "watcher", subscribe=[("t/#", 2)]).open()
        at_hub = self.client(hub.port, "at-hub", subscribe=[("t/#", 2)]).open()
        sender = self.client(site.port, "sender").open()
        for number in range(20):
            sender.publish("t/x", str(number), qos=2)
        at_hub.wait_until("20 messages", lambda: len(at_hub.messages) >= 20)
        time.sleep(1)
        self.assertEqual(list(range(20)), numbers(at_hub.messages))
        self.assertEqual(list(range(20)), numbers(watcher.messages))

    def test_three_in_a_row(self):
        """Goal: a record keeps its name and its time over two hops: ship, fleet, company. Method: the middle one dies."""
        company = self.node("company").start()
        claim = company.claim_for("fleet", self.directory / "fleet.claim")
        fleet = self.node("fleet", claim=claim, upstream_port=company.port).start()
        ship = self.site(fleet, "ship").start()
        self.wait_online(fleet)
        self.wait_online(ship)
        at_company = self.client(company.port, "at-company", version=V5, subscribe=[("ship/#", 2)]).open()
        sender = self.client(ship.port, "sender", version=V5).open()
        for number in range(300):
            properties = [(USER_PROPERTY, ("hf-time", str(1_700_000_000_000 + number)))]
            sender.publish("ship/x", str(number), qos=1, properties=properties)
            if number in (100, 200):
                fleet.kill()
                fleet.start()
        ship.command("connect")
        fleet.command("connect")
        at_company.wait_until("300 messages", lambda: len(at_company.messages) >= 300, 30)
        self.assertEqual(list(range(300)), numbers(at_company.messages))
        said = [dict(v for k, v in message.properties if k == USER_PROPERTY) for message in at_company.messages]
        self.assertEqual({"fleet/ship"}, {each["hf-origin"] for each in said})
        self.assertEqual("1700000000299", said[299]["hf-time"])
        self.assertEqual(300, len({each["hf-seq"] for each in said}))

    def test_alarms_overtake(self):
        """Goal: a stream of higher priority is sent first. Method: a backlog of both, a hub that comes late."""
        hub = self.hub()
        site = self.site(
            hub, extra='\n[[route]]\nfilter = "alarm/#"\nstream = "alarms"\npriority = 0\n'
        )
        # Subscribed before, so that it is owed what comes even if the site is back before it.
        at_hub = self.client(hub.port, "at-hub", subscribe=[("#", 2)], reconnect=True).open()
        hub.stop()
        site.start()
        sender = self.client(site.port, "sender").open()
        sender.publish_all(("site/x", f"{number} {self.random.randbytes(300).hex()}", 1) for number in range(400))
        sender.publish("alarm/fire", "on", qos=1)
        hub.start()
        site.command("connect")
        at_hub.wait_until("401 messages", lambda: len(at_hub.messages) >= 401, 20)
        place = [message.topic for message in at_hub.messages].index("alarm/fire")
        self.assertLess(place, 100)
        rest = [message for message in at_hub.messages if message.topic == "site/x"]
        self.assertEqual(list(range(400)), numbers(rest))
        self.note = f"place {place + 1} of 401"

    def test_large_and_small_messages(self):
        """Goal: from nothing to almost a megabyte, every byte arrives, in order. Method: sizes around every boundary that
        the store and the link have, of bytes that cannot be compressed, and some that can."""
        hub = self.hub()
        site = self.site(hub).start()
        at_hub = self.client(hub.port, "at-hub", subscribe=[("site/#", 2)]).open()
        sizes = [0, 1, 127, 128, 16_383, 16_384, 16_385, 65_535, 65_536, 262_143, 262_144, 300_000, 600_000, 1_000_000]
        payloads = [self.random.randbytes(size) for size in sizes] + [b"." * size for size in sizes]
        self.random.shuffle(payloads)
        sender = self.client(site.port, "sender", window=4).open()
        sender.publish_all(("site/x", payload, 1 + index % 2) for index, payload in enumerate(payloads))
        at_hub.wait_until("all of them", lambda: len(at_hub.messages) >= len(payloads), 30)
        self.assertEqual([len(payload) for payload in payloads], [len(message.payload) for message in at_hub.messages])
        self.assertTrue(all(got.payload == sent for got, sent in zip(at_hub.messages, payloads)))

    @waits
    def test_large_messages_go_on_where_they_were_cut(self):
        """Goal: messages that travel in pieces arrive whole, in order, once, through cuts and a hub that dies, and what was
        receipted of them is not sent again. Method: a backlog, and the link cut whenever so much more has passed."""
        hub = self.hub()
        link = self.link(hub.port)
        site = self.site(hub, port=link.port).start()
        self.wait_online(site)
        at_hub = self.client(hub.port, "at-hub", subscribe=[("site/#", 2)], reconnect=True).open()
        link.cut()
        payloads = [b"%d " % number + self.random.randbytes(1_000_000) for number in range(12)]
        sender = self.client(site.port, "sender", window=4).open()
        # At QoS 1 the hub may give one to its subscriber a second time when it has died.
        sender.publish_all(("site/x", payload, 2) for payload in payloads)
        before = link.bytes_up
        link.mend(forget=True)
        for step in range(1, 4):
            wait_for("some of it to pass", lambda: link.bytes_up > before + step * 2_300_000, 30)
            if step == 2:
                link.cut()
                link.mend(forget=True)
            else:
                hub.kill()
                hub.start()
        at_hub.wait_until("all of them", lambda: len(at_hub.messages) >= len(payloads), 60)
        time.sleep(0.3)
        self.assertEqual(list(range(12)), numbers(at_hub.messages))
        self.assertTrue(all(got.payload == sent for got, sent in zip(at_hub.messages, payloads)))
        self.note = f"{(link.bytes_up - before) / 1e6:.1f} MB for {sum(map(len, payloads)) / 1e6:.1f} MB"

    def test_topics_of_a_site_have_its_prefix_at_the_hub(self):
        """Goal: two sites with the same topics are told apart at the hub, and each gets what is behind its prefix."""
        hub = self.hub()
        for bad, said in (("sites/#/", "stand for other topics"), ("sites", "end with '/'"), ("$x/", "begins with '$'")):
            refused = hub.command("node", "add", "x", "--prefix", bad)
            self.assertNotEqual(0, refused.returncode)
            self.assertIn(said, refused.stderr)
        sites = {name: self.site(hub, name, prefix=f"sites/{name}/").start() for name in ("one", "two")}
        at_hub = self.client(hub.port, "at-hub", subscribe=[("sites/+/press/#", 2)]).open()
        devices = {}
        for name, site in sites.items():
            self.wait_online(site)
            devices[name] = self.client(site.port, "device", subscribe=[("#", 2)]).open()
            devices[name].publish("press/state", f"of {name}", qos=1)
            publish(site.port, "press/last", f"of {name}", "-r", qos=1)
        at_hub.wait_until("all states", lambda: len(at_hub.messages) >= 4, 10)
        self.assertEqual(
            sorted((f"sites/{name}/press/{what}", f"of {name}".encode()) for name in sites for what in ("last", "state")),
            sorted((message.topic, message.payload) for message in at_hub.messages),
        )
        listener = self.listener(hub.port, "sites/two/#", qos=1)
        self.assertEqual([("sites/two/press/last", 1, True, b"of two")], listener.messages(1))
        publish(hub.port, "sites/two/press/start", "now", qos=1)
        device = devices["two"]
        device.wait_until("the command", lambda: any(message.topic == "press/start" for message in device.messages), 10)
        time.sleep(0.3)
        self.assertFalse([message for message in devices["one"].messages if message.payload == b"now"])
        listed = {node["name"]: node for node in hub_nodes(hub)}
        self.assertEqual(("sites/two/", ["sites/two/#"]), (listed["two"]["prefix"], listed["two"]["down"]))
        self.assertIn("sites/one/", hub.command("node", "ls").stdout)

    def test_what_is_retained_at_a_site_is_retained_at_the_hub(self):
        """Goal: QoS 0 and retained messages take the same way; an empty payload clears both."""
        hub = self.hub()
        site = self.site(hub).start()
        for number in range(3):
            publish(site.port, f"site/r{number}", f"{number}", "-r", qos=number)
        publish(site.port, "site/r2", "", "-r", qos=1)
        publish(site.port, "site/last", "x", qos=0)
        wait_for("all at the hub", lambda: hub_nodes(hub)[0]["records_received"] == 5, 15)
        listener = self.listener(hub.port, "site/#", qos=2)
        time.sleep(0.3)
        self.assertEqual(
            [("site/r0", 0, True, b"0"), ("site/r1", 1, True, b"1")], sorted(listener.messages(2))
        )

    def test_more_than_the_quota_goes_through(self):
        """Goal: what everybody has is given up when space is short, so that a small store carries any amount. Method: 100 MB
        through a site and a hub of 32 MiB each."""
        hub = self.node("hub")
        small(hub)
        hub.start()
        site = self.site(hub)
        small(site)
        site.start()
        self.wait_online(site)
        seen = collections.Counter()
        count = lambda message: seen.update([message.payload[:8]])
        at_hub = self.client(hub.port, "at-hub", subscribe=[("site/#", 1)], on_message=count).open()
        sender = self.client(site.port, "sender", version=V5, window=20).open()
        noise = self.random.randbytes(1 << 20)
        offsets = [self.random.randrange(1 << 19) for _ in range(2000)]
        payloads = [b"%08d" % n + noise[at : at + 50_000] for n, at in enumerate(offsets)]
        for first in range(0, 2000, 100):
            sender.publish_all(("site/x", payload, 1) for payload in payloads[first : first + 100])
            self.assertEqual({}, sender.refused)
            at_hub.wait_until(f"{first + 100} messages", lambda: len(seen) == first + 100, 20)
        for node in (site, hub):
            said = node.status()
            self.assertLessEqual(said["store"]["file_bytes"], 40 << 20)
            self.assertEqual(0, said["store"]["gaps"], node.name)

    def test_a_message_that_the_hub_can_never_take(self):
        """Goal: it is given up under a gap record and holds up nothing. Method: a hub whose store takes records of up to 1 MiB
        gets one of 2."""
        hub = self.node("hub")
        small(hub)
        hub.start()
        site = self.site(hub, extra='[mqtt]\nmax_packet = "4 MiB"\n').start()
        self.wait_online(site)
        at_hub = self.client(hub.port, "at-hub", version=V5, subscribe=[("site/#", 1)]).open()
        sender = self.client(site.port, "sender", version=V5).open()
        sender.publish_all(("site/x", payload, 1) for payload in (b"0", self.random.randbytes(2 << 20), b"2"))
        at_hub.wait_until("the others", lambda: len(at_hub.messages) >= 2, 30)
        self.assertEqual([b"0", b"2"], [message.payload for message in at_hub.messages])
        said = site.status()
        self.assertEqual(1, said["store"]["gaps"])
        self.assertTrue(said["link"]["up"])

    def test_a_copy_of_a_site_beside_it(self):
        """Goal: a copied data directory that runs beside the original loses neither's messages. Method: the copy is on
        another inode, so it knows at its start that it is one."""
        hub = self.hub()
        site = self.site(hub).start()
        self.wait_online(site)
        at_hub = self.client(hub.port, "at-hub", version=V5, subscribe=[("site/#", 2)]).open()
        sender = self.client(site.port, "sender").open()
        for number in range(50):
            sender.publish("site/x", f"{number} before", qos=2)
        at_hub.wait_until("50 messages", lambda: len(at_hub.messages) >= 50)
        sender.abort()
        site.stop()
        clone = self.clone_of(site)
        site.start()
        clone.start()
        self.assertTrue(clone.status()["recovery"]["new_incarnation"])
        senders = {"site": self.client(site.port, "sender").open(), "clone": self.client(clone.port, "sender-2").open()}
        for number in range(50, 150):
            for name, each in senders.items():
                each.publish("site/x", f"{number} {name}", qos=2)
        site.command("connect")
        clone.command("connect")
        self.assert_both_arrive(at_hub, 50, 150)

    def test_a_site_that_was_set_back_to_an_old_copy(self):
        """Goal: a backup that is put back gives its numbers a second time; the hub must not take the new messages for the
        old ones. Method: the files are put back into the same directory, so that only the hashes at HELLO can tell."""
        hub = self.hub()
        site = self.site(hub).start()
        self.wait_online(site)
        at_hub = self.client(hub.port, "at-hub", version=V5, subscribe=[("site/#", 2)]).open()
        sender = self.client(site.port, "sender").open()
        for number in range(50):
            sender.publish("site/x", f"{number} before", qos=2)
        at_hub.wait_until("50 messages", lambda: len(at_hub.messages) >= 50)
        wait_for("the receipts", lambda: site.status()["link"]["backlog_count"] == 0, 10)
        sender.abort()
        site.stop()
        backup = self.directory / "backup"
        shutil.copytree(site.directory / "store", backup)
        site.start()
        self.wait_online(site)
        sender = self.client(site.port, "sender").open()
        for number in range(50, 100):
            sender.publish("site/x", f"{number} site", qos=2)
        at_hub.wait_until("100 messages", lambda: len(at_hub.messages) >= 100)
        sender.abort()
        site.stop()
        for old in (site.directory / "store").iterdir():
            old.unlink()
        for file in backup.iterdir():
            shutil.copy2(file, site.directory / "store" / file.name)
        site.start()
        sender = self.client(site.port, "sender-2").open()
        for number in range(50, 100):
            sender.publish("site/x", f"{number} clone", qos=2)
        self.assert_both_arrive(at_hub, 50, 100)
        self.assertEqual(1, site.status()["link"]["forks"])

    def clone_of(self, site):
        clone = Node("site-copy", self.directory / "site-copy")
        shutil.copytree(site.directory, clone.directory, ignore=shutil.ignore_patterns("admin.sock", "lock"))
        self._nodes.append(clone)
        self.keep(clone.stop)
        path = clone.directory / "holdfast.toml"
        path.write_text(path.read_text().replace(f":{site.port}\"", f":{clone.port}\""))
        return clone

    def assert_both_arrive(self, at_hub, first, last):
        """Every number from both; once, unless it is marked as perhaps a double."""
        wanted = {b"%d %s" % (number, name) for number in range(first, last) for name in (b"site", b"clone")}
        wanted |= {b"%d before" % number for number in range(first)}

        def all_there():
            return wanted <= {message.payload for message in at_hub.messages}

        try:
            at_hub.wait_until("the messages of both", all_there, 60)
        except TimeoutError:
            missing = sorted(wanted - {message.payload for message in at_hub.messages})
            raise Failed(f"{len(missing)} of {len(wanted)} messages did not arrive: {missing[:5]}") from None
        time.sleep(0.5)
        counts = collections.Counter(
            message.payload
            for message in at_hub.messages
            if (USER_PROPERTY, ("hf-may-double", "1")) not in message.properties
        )
        self.assertEqual([], [payload for payload, count in counts.items() if count > 1])
        self.assertEqual(set(), {message.payload for message in at_hub.messages} - wanted)


def small(node):
    path = node.directory / "holdfast.toml"
    path.write_text(path.read_text().replace('quota = "4 GiB"', 'quota = "32 MiB"'))

