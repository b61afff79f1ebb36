"""The broker as clients know it: Debian's mosquitto_pub and mosquitto_sub against one node."""

import signal
import socket
import subprocess
import time

from harness import LOOPBACK, Case, end, publish, spawn, wait_for, waits
from mqtt import SESSION_EXPIRY, SHARED_SUBSCRIPTION_AVAILABLE, USER_PROPERTY, V5, V311, Refused

VERSIONS = {"mqttv311": V311, "mqttv5": V5}


class Broker(Case):
    def test_publish_and_subscribe_at_every_qos_and_version(self):
        """Goal: what is published arrives, at the lower of the two QoS. Method: each version with each, each QoS."""
        node = self.hub()
        listeners = {
            (version, qos): self.listener(node.port, "t/#", qos=qos, version=version)
            for version in VERSIONS
            for qos in (0, 1, 2)
        }
        sent = []
        for version in VERSIONS:
            for qos in (0, 1, 2):
                sent.append((f"t/{version}/{qos}", qos, f"{version} at {qos} ✓".encode()))
                publish(node.port, sent[-1][0], sent[-1][2].decode(), qos=qos, version=version)
        for (version, qos), listener in listeners.items():
            expected = [(topic, min(qos, sent_qos), False, payload) for topic, sent_qos, payload in sent]
            self.assertEqual(sorted(expected), sorted(listener.messages(len(sent))), (version, qos))

    def test_retained_messages_survive_a_restart(self):
        """Goal: a retained message reaches who subscribes later, also after SIGKILL; an empty one removes it."""
        node = self.hub()
        for qos in (0, 1, 2):
            publish(node.port, f"r/{qos}", "old", "-r", qos=qos)
            publish(node.port, f"r/{qos}", "new", "-r", qos=qos)
        publish(node.port, "r/gone", "x", "-r", qos=1)
        publish(node.port, "r/gone", "", "-r", qos=1)
        expected = [(f"r/{qos}", qos, True, b"new") for qos in (0, 1, 2)]
        early = self.listener(node.port, "r/#", qos=2)
        self.assertEqual(expected, sorted(early.messages(3)))
        node.kill()
        node.start()
        # QoS 0 is promised nothing; here it was answered before, so it is there all the same.
        late = self.listener(node.port, "r/#", qos=2)
        self.assertEqual(expected[1:], [line for line in sorted(late.messages(3)) if line[1] > 0])
        publish(node.port, "r/1", "live", "-r", qos=1)
        self.assertIn(("r/1", 1, False, b"live"), late.messages(4))

    def test_a_will_is_published_when_its_client_dies(self):
        """Goal: a will fires when the connection breaks, and not after DISCONNECT."""
        node = self.hub()
        watcher = self.listener(node.port, "will/#", qos=2)
        will = ("--will-topic", "will/dead", "--will-payload", "gone", "--will-qos", "2")
        dying = self.listener(node.port, "x", *will)
        dying.process.kill()
        self.assertEqual([("will/dead", 2, False, b"gone")], watcher.messages(1))
        polite = self.client(node.port, "polite", clean=True, will=("will/polite", "gone", 1, False)).open()
        polite.disconnect()
        rude = self.client(node.port, "rude", version=V5, will=("will/rude", "gone", 1, True)).open()
        rude.abort()
        self.assertEqual(("will/rude", 1, False, b"gone"), watcher.messages(2)[1])
        time.sleep(0.3)
        self.assertEqual(2, len(watcher.lines))

    def test_a_will_fires_after_the_node_was_killed(self):
        """Goal: who was connected when the node died is gone, and its will says so after the restart."""
        node = self.hub()
        watcher = self.client(node.port, "watcher", reconnect=True, subscribe=[("will/#", 2)]).open()
        self.client(node.port, "victim", will=("will/victim", "gone", 2, False)).open()
        node.kill()
        node.start()
        watcher.wait_until("the will", lambda: watcher.messages, 15)
        self.assertEqual([("will/victim", b"gone")], [(m.topic, m.payload) for m in watcher.messages])

    def test_a_session_and_its_messages_survive_restarts(self):
        """Goal: what is published for a session that is away arrives when it comes back, in order, once; through a clean
        stop and through SIGKILL. Method: mosquitto_sub makes the session and goes (-E), then comes back for the messages."""
        node = self.hub()
        options = {
            "mqttv311": ("-i", "away-311", "-c"),
            "mqttv5": ("-i", "away-5", "-c", "-x", "3600"),
        }
        for version, words in options.items():
            made = self.listener(node.port, "s/#", *words, "-E", qos=2, version=version)
            made.process.wait(10)
        sender = self.client(node.port, "sender").open()
        expected = []
        for number in range(200):
            qos = 1 + number % 2
            sender.publish("s/t", str(number), qos=qos)
            expected.append(("s/t", qos, False, str(number).encode()))
            if number == 60:
                self.assertEqual(0, node.stop())
            elif number == 120:
                node.kill()
            if number in (60, 120):
                sender.abort()
                node.start()
                sender = self.client(node.port, "sender").open()
                self.assertTrue(sender.connack.session_present)
        for version, words in options.items():
            with self.subTest(version):
                back = self.listener(node.port, "s/#", *words, qos=2, version=version)
                got = back.messages(len(expected))
                # It prints QoS 1 at once and QoS 2 after PUBREL, so the order is that of each.
                for qos in (1, 2):
                    self.assertEqual([each for each in expected if each[1] == qos], [each for each in got if each[1] == qos])
        time.sleep(0.3)
        self.assertEqual(len(expected), len(back.lines))

    def test_a_clean_session_leaves_nothing_behind(self):
        node = self.hub()
        first = self.client(node.port, "c", clean=True).open()
        self.assertEqual(1, first.subscribe("c/#", 1))
        first.abort()
        publish(node.port, "c/x", "missed", qos=1)
        second = self.client(node.port, "c", clean=True).open()
        self.assertFalse(second.connack.session_present)
        self.assertEqual(1, second.subscribe("c/#", 1))
        publish(node.port, "c/x", "seen", qos=1)
        second.wait_until("a message", lambda: second.messages)
        self.assertEqual([b"seen"], [message.payload for message in second.messages])

    def test_a_second_connection_takes_the_session_over(self):
        node = self.hub()
        first = self.client(node.port, "same", version=V5).open()
        first.subscribe("o/#", 1)
        second = self.client(node.port, "same", version=V5).open()
        first.wait_until("the first to be closed", lambda: not first.connected())
        self.assertEqual(0x8E, first.disconnect_reason)
        self.assertTrue(second.connack.session_present)
        publish(node.port, "o/x", "to the second", qos=1)
        second.wait_until("a message", lambda: second.messages)
        self.assertEqual([], first.messages)

    def test_properties_travel(self):
        """Goal: user properties arrive in their order; those of the node itself cannot be forged."""
        node = self.hub()
        receiver = self.client(node.port, "receiver", version=V5, clean=True).open()
        receiver.subscribe("p/#", 1)
        sender = self.client(node.port, "sender", version=V5, clean=True).open()
        pairs = [("b", "2"), ("a", "1"), ("b", "3"), ("hf-origin", "forged"), ("hf-time", "1700000000123")]
        sender.publish("p/x", "x", qos=1, properties=[(USER_PROPERTY, pair) for pair in pairs])
        receiver.wait_until("a message", lambda: receiver.messages)
        got = [value for identifier, value in receiver.messages[0].properties if identifier == USER_PROPERTY]
        self.assertEqual([("b", "2"), ("a", "1"), ("b", "3"), ("hf-time", "1700000000123")], got)

    def test_shared_subscriptions_take_turns(self):
        """Goal: each message goes to one member, whatever its version, and CONNACK takes nothing back."""
        node = self.hub()
        five = self.client(node.port, "five", version=V5, clean=True).open()
        three = self.client(node.port, "three", clean=True).open()
        self.assertNotIn(SHARED_SUBSCRIPTION_AVAILABLE, [identifier for identifier, _ in five.connack.properties])
        for member in (five, three):
            self.assertEqual(1, member.subscribe("$share/group/w/#", 1))
        sender = self.client(node.port, "sender", clean=True).open()
        sender.publish_all(("w/x", str(number), 1) for number in range(10))
        wait_for("ten messages", lambda: len(five.messages) + len(three.messages) == 10, 10)
        self.assertEqual((5, 5), (len(five.messages), len(three.messages)))

    def test_strangers_cannot_use_reserved_topics(self):
        """Goal: topics under $hf/ are for registered nodes alone. Method: publish and subscribe, both versions."""
        node = self.hub()
        five = self.client(node.port, "five", version=V5, clean=True).open()
        self.assertGreaterEqual(five.subscribe("$hf/#", 1), 0x80)
        self.assertGreaterEqual(five.subscribe("$hf/batch", 1), 0x80)
        for topic in ("$hf/hello", "$hf/batch", "$hf/pairs", "$hf/anything"):
            try:
                client = self.client(node.port, "five", version=V5, clean=True).open()
                client.publish(topic, b"\x01\x02\x03", qos=1)
                self.fail(f"{topic} was accepted")
            except Refused as refused:
                self.assertIn(refused.reason, (0x87, 0x90))
            except OSError:
                self.assertIn(client.disconnect_reason, (0x87, 0x82, 0x90), topic)
        three = self.client(node.port, "three", clean=True).open()
        self.assertEqual(0x80, three.subscribe("$hf/#", 1))
        # It cannot be told, and would come back with the same for ever: acknowledged, and dropped.
        three.publish("$hf/hello", "x", qos=1)
        # And nothing was harmed.
        publish(node.port, "fine", "x", qos=2)

    def test_garbage_is_shown_the_door(self):
        """Goal: whatever comes, that connection is closed and nobody else notices. Method: bytes no client would send."""
        node = self.hub()
        bystander = self.client(node.port, "bystander", clean=True).open()
        bystander.subscribe("by/#", 1)
        pieces = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
            b"\x30\x03\x00\x01a",  # PUBLISH before CONNECT
            b"\x10\xff\xff\xff\xff\xff",  # A remaining length of five bytes.
            b"\x10\xff\xff\xff\x7f" + b"x" * 1000,  # 256 MB announced.
            b"\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00",  # Version 9.
            *(self.random.randbytes(self.random.randrange(1, 400)) for _ in range(30)),
        ]
        for piece in pieces:
            with socket.create_connection((LOOPBACK, node.port), timeout=10) as raw:
                raw.sendall(piece)
                try:
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(4096):
                        pass
                except ConnectionError:
                    pass
        publish(node.port, "by/x", "x", qos=1)
        bystander.wait_until("a message", lambda: bystander.messages)
        self.assertTrue(node.running())

    def test_an_idle_client_is_dropped_after_its_keep_alive(self):
        """Goal: one and a half times the keep alive, then the connection is closed and the will published."""
        node = self.hub()
        watcher = self.listener(node.port, "will/#", qos=1)
        idle = self.client(node.port, "idle", keep_alive_s=1, clean=True, will=("will/idle", "gone", 1, False)).open()
        began = time.monotonic()
        idle.wait_until("the broker to close the connection", lambda: not idle.connected(), 10)
        self.assertGreater(time.monotonic() - began, 1.2)
        watcher.messages(1)

    @waits
    def test_a_publisher_that_waits_for_lines_stays_connected(self):
        """Goal: holdfast pub -l keeps its connection while nothing comes, as often as the node says. Method: a short
        keep_alive_max, and a line after more than one and a half of it."""
        node = self.node("hub", extra='[mqtt]\nkeep_alive_max = "5 s"\n').start()
        listener = self.listener(node.port, "lines", qos=1)
        pub = spawn(
            [node.holdfast, "pub", "--data", node.directory, "-t", "lines", "-l"],
            stdin=subprocess.PIPE,
        )
        self.keep(lambda: end(pub))
        pub.stdin.write(b"first\n")
        pub.stdin.flush()
        listener.messages(1)
        time.sleep(8)
        pub.stdin.write(b"second\n")
        pub.stdin.close()
        self.assertEqual(0, pub.wait(10))
        self.assertEqual([b"first", b"second"], [line[3] for line in listener.messages(2)])

    def test_a_stopped_client_does_not_stop_the_others(self):
        """Goal: a subscriber that no longer reads holds nobody up, and gets what it is owed when it wakes. Method: SIGSTOP."""
        node = self.hub()
        asleep = self.listener(node.port, "z/#", "-i", "asleep", "-c", qos=1)
        awake = self.client(node.port, "awake").open()
        awake.subscribe("z/#", 1)
        asleep.process.send_signal(signal.SIGSTOP)
        self.keep(lambda: asleep.process.send_signal(signal.SIGCONT))
        sender = self.client(node.port, "sender").open()
        payload = "." * 4000
        sender.publish_all(("z/x", f"{number} {payload}", 1) for number in range(1000))
        awake.wait_until("1,000 messages", lambda: len(awake.messages) == 1000, 20)
        asleep.process.send_signal(signal.SIGCONT)
        numbers = [int(line[3].split(b" ")[0]) for line in asleep.messages(1000, 20)]
        self.assertEqual(list(range(1000)), list(dict.fromkeys(numbers)))

    def test_the_unix_socket_speaks_mqtt_too(self):
        """Goal: holdfast pub and sub, which use the admin socket, meet clients of the TCP port."""
        node = self.hub()
        listener = self.listener(node.port, "u/#", qos=1)
        sub = spawn(
            [node.holdfast, "sub", "--data", node.directory, "-t", "u/#", "-q", "2", "-C", "2", "-W", "10 s", "-v"],
            stdout=subprocess.PIPE,
        )
        time.sleep(0.3)
        self.assertEqual(0, node.command("pub", "-t", "u/cli", "-m", "from the socket", "-q", "2").returncode)
        publish(node.port, "u/tcp", "from the port", qos=1)
        self.assertEqual([b"from the socket", b"from the port"], [line[3] for line in listener.messages(2)])
        out, _ = sub.communicate(timeout=15)
        self.assertEqual(b"u/cli from the socket\nu/tcp from the port\n", out)
        self.assertEqual(0, sub.returncode)

    def test_a_session_expires_when_it_said(self):
        node = self.hub()
        first = self.client(node.port, "brief", version=V5, expiry_s=1).open()
        first.subscribe("e/#", 1)
        first.abort()
        publish(node.port, "e/x", "x", qos=1)
        wait_for("a second to pass", lambda: time.sleep(1.6) or True, 5)
        second = self.client(node.port, "brief", version=V5, expiry_s=60).open()
        self.assertFalse(second.connack.session_present)
        self.assertNotIn(SESSION_EXPIRY, [identifier for identifier, _ in second.connack.properties])
