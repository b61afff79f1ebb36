"""Users and permissions in a running node: who gets in, what they may do, and what changes while they are there."""

import base64
import hashlib
import hmac
import socket
import struct
import subprocess
import time

from harness import LOOPBACK, Case, free_port, wait_for
from mqtt import V5, Refused, _properties, _string
from processes import HOLDFAST

PROXY_HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
AUTHENTICATION_METHOD, AUTHENTICATION_DATA = 0x15, 0x16
WITHIN_S = 1.0  # Of a change, until it holds for everybody.


class Users(Case):
    def setUp(self):
        self.proxied = free_port()
        self.holdfast = self.node(
            "node", extra=f'[[listener]]\naddress = "{LOOPBACK}:{self.proxied}"\nproxy = true\n'
        )
        self.add("ann", "annes secret")
        self.add("bob", "bobs secret")
        self.permissions = self.holdfast.directory / "permissions.toml"

    def add(self, name, password, *options, verb="add"):
        subprocess.run(
            [str(HOLDFAST), "user", verb, name, *options, "--data", str(self.holdfast.directory)],
            input=password + "\n", text=True, check=True, capture_output=True, timeout=20,
        )  # fmt: skip

    def permit(self, text):
        """As an editor does it: the file is there as a whole or not at all."""
        new = self.permissions.with_suffix(".new")
        new.write_text(text)
        new.rename(self.permissions)

    def far(self, client_id, address="192.0.2.7", **options):
        """A client that a proxy on this machine says is somewhere else."""
        client = self.client(self.proxied, client_id, **options)
        plain = client.dial

        def dial():
            made = plain()
            made.sendall(PROXY_HEADER + socket.inet_aton(address) + socket.inet_aton(LOOPBACK) + struct.pack(">HH", 50000, 1883))
            return made

        client.dial = dial
        return client

    def refusal(self, client):
        with self.assertRaises(Refused) as caught:
            client.open()
        return caught.exception.reason

    def logged(self, text):
        wait_for(f"'{text}' in the log", lambda: text in self.holdfast.log_tail(200), 10)

    def test_only_who_proves_it_gets_in_from_elsewhere(self):
        self.holdfast.start()
        self.far("a", version=V5, user=("ann", "annes secret")).open()
        self.assertEqual(0x87, self.refusal(self.far("b", version=V5)))
        self.assertEqual(5, self.refusal(self.far("b")))
        self.assertEqual(0x86, self.refusal(self.far("c", version=V5, user=("ann", "bobs secret"))))
        self.assertEqual(4, self.refusal(self.far("c", user=("eve", ""))))
        # On this machine nobody has to say who he is; who does has to prove it.
        self.client(self.holdfast.port, "d").open()
        self.assertEqual(0x86, self.refusal(self.client(self.holdfast.port, "e", version=V5, user=("ann", "guess"))))

    def test_who_guesses_waits_longer_and_longer(self):
        self.holdfast.start()
        answers = [self.refusal(self.far("a", version=V5, user=("ann", f"guess {i}"))) for i in range(6)]
        self.assertEqual([0x86] * 4 + [0x9F] * 2, answers)
        # Others are not concerned.
        self.far("b", address="192.0.2.8", version=V5, user=("bob", "bobs secret")).open()

    def test_users_of_a_storm_are_known_again(self):
        """Goal: a reconnect does not cost the hash again. Method: more connects than hashes would take in the time."""
        self.holdfast.start()
        self.far("first", user=("ann", "annes secret")).open()
        begin = time.monotonic()
        for i in range(200):
            client = self.far(f"c{i}", clean=True, user=("ann", "annes secret"))
            client.open()
            client.abort()
        self.assertLess(time.monotonic() - begin, 200 * 0.02)

    def test_permissions_decide_what_each_may_do(self):
        self.permit('[[permission]]\nuser = "*"\npublish = ["sites/%u/#"]\nsubscribe = ["sites/%u/#", "news/#"]\nretain = ["sites/%u/state"]\n')
        self.holdfast.start()
        ann = self.far("ann-1", version=V5, user=("ann", "annes secret"))
        ann.open()
        self.assertEqual(1, ann.subscribe("sites/ann/#", 1))
        self.assertEqual(0x87, ann.subscribe("#", 1))
        self.assertEqual(0x87, ann.subscribe("sites/bob/x", 1))
        ann.publish("sites/ann/x", b"mine", 1)
        with self.assertRaises(Refused):
            ann.publish("sites/bob/x", b"not mine", 1)
        with self.assertRaises(Refused):
            ann.publish("sites/ann/x", b"kept", 1, retain=True)
        ann.publish("sites/ann/state", b"kept", 1, retain=True)
        # With a permissions file, also this machine's nameless clients need to be in it.
        nameless = self.client(self.holdfast.port, "local", version=V5)
        nameless.open()
        self.assertEqual(0x87, nameless.subscribe("news/x", 0))

    def test_change_holds_within_a_second_for_those_who_are_there_and_what_is_stored(self):
        self.permit('[[permission]]\nuser = "*"\npublish = ["#"]\nsubscribe = ["#"]\nretain = ["#"]\n')
        self.holdfast.start()
        ann = self.far("ann-1", version=V5, user=("ann", "annes secret"))
        away = self.far("ann-2", version=V5, user=("ann", "annes secret"))
        bob = self.far("bob-1", version=V5, user=("bob", "bobs secret"))
        for client in (ann, away, bob):
            client.open()
        ann.subscribe("t/#", 1)
        away.subscribe("t/#", 1)
        bob.publish("t/kept", b"retained", 1, retain=True)
        bob.publish("t/before", b"1", 1)
        wait_for("what was allowed", lambda: len(ann.messages) == 2, 10)
        away.disconnect()
        bob.publish("t/waits", b"2", 1)
        bob.publish("u/waits", b"3", 1)
        wait_for("what was allowed", lambda: len(ann.messages) == 3, 10)
        self.permit('[[permission]]\nuser = "ann"\nsubscribe = ["u/#"]\n\n[[permission]]\nuser = "bob"\npublish = ["t/#", "u/#"]\nsubscribe = ["#"]\n')
        self.logged("HF-RUN-006")
        time.sleep(WITHIN_S)
        bob.publish("t/after", b"4", 1)
        away.messages.clear()
        away.open()
        again = self.far("bob-2", version=V5, user=("bob", "bobs secret"))
        again.open()
        again.subscribe("t/kept", 1)  # Who left it there may not leave it there any more.
        time.sleep(0.5)
        self.assertEqual(3, len(ann.messages))
        self.assertEqual([], [message.topic for message in away.messages])
        self.assertEqual([], [message.topic for message in again.messages])

    def test_removed_user_is_out_within_a_second(self):
        self.holdfast.start()
        ann = self.far("ann-1", version=V5, user=("ann", "annes secret"))
        bob = self.far("bob-1", version=V5, user=("bob", "bobs secret"))
        ann.open()
        bob.open()
        begin = time.monotonic()
        subprocess.run(
            [str(HOLDFAST), "user", "rm", "ann", "--data", str(self.holdfast.directory)], check=True, capture_output=True
        )
        wait_for("ann to be out", lambda: not ann.connected(), 10)
        self.assertLess(time.monotonic() - begin, WITHIN_S + 0.5)
        self.assertEqual(0x87, ann.disconnect_reason)
        self.assertEqual(0x86, self.refusal(self.far("ann-1", version=V5, user=("ann", "annes secret"))))
        self.add("bob", "another secret", verb="passwd")
        wait_for("bob to be out", lambda: not bob.connected(), 10)
        self.far("bob-1", address="192.0.2.9", version=V5, user=("bob", "another secret")).open()
        self.logged("HF-MQTT-013")

    def test_removed_user_leaves_nothing_behind_where_certificates_name_others(self):
        """Goal: his will and his retained message go with him. Method: a node with a listener that takes names from certificates,
        so that not all users are in the list; he came by a password."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"]
            + ["-subj", "/CN=hub"],
            check=True, capture_output=True, cwd=self.directory,
        )  # fmt: skip
        pem = f"{self.directory}/cert.pem"
        self.holdfast = self.node(
            "with-certificates",
            extra=f'[[listener]]\naddress = "{LOOPBACK}:{self.proxied}"\nproxy = true\n\n'
            f'[[listener]]\naddress = "{LOOPBACK}:{free_port()}"\ncertificate = "{pem}"\nkey = "{self.directory}/key.pem"\n'
            f'client_ca = "{pem}"\n',
        )
        self.add("ann", "annes secret")
        self.add("bob", "bobs secret")
        self.holdfast.start()
        ann = self.far("ann-1", version=V5, user=("ann", "annes secret"))
        bob = self.far("bob-1", version=V5, user=("bob", "bobs secret"), will=("t/will", b"bye", 1, False))
        for client in (ann, bob):
            client.open()
        ann.subscribe("t/will", 1)
        bob.publish("t/kept", b"retained", 1, retain=True)
        subprocess.run(
            [str(HOLDFAST), "user", "rm", "bob", "--data", str(self.holdfast.directory)], check=True, capture_output=True
        )
        wait_for("bob to be out", lambda: not bob.connected(), 10)
        time.sleep(WITHIN_S)
        self.assertEqual([], [message.topic for message in ann.messages])
        ann.subscribe("t/kept", 1)
        ann.publish("t/will", b"of somebody who may", 1)
        wait_for("what is allowed", lambda: ann.messages, 10)
        self.assertEqual([("t/will", b"of somebody who may")], [(message.topic, message.payload) for message in ann.messages])

    def test_file_with_a_mistake_changes_nothing(self):
        self.permit('[[permission]]\nuser = "ann"\npublish = ["#"]\n')
        self.holdfast.start()
        ann = self.far("ann-1", version=V5, user=("ann", "annes secret"))
        ann.open()
        self.permit('[[permission]]\nuser = "ann"\npublsh = ["#"]\n')
        self.logged("did you mean `permission.publish`")
        users = self.holdfast.directory / "users"
        users.write_text(users.read_text() + "eve:\n")
        self.logged("users:3:")
        ann.publish("t", b"x", 1)
        self.assertEqual(0x86, self.refusal(self.far("e", address="192.0.2.9", version=V5, user=("eve", ""))))
        # One that is gone lets nobody do more than before.
        self.permissions.unlink()
        self.logged("is gone")
        self.assertEqual(0x87, ann.subscribe("t", 0))

    def test_scram_shows_no_password(self):
        """Goal: RFC 7677 over MQTT's AUTH. Method: the client's side written out with hmac and hashlib."""
        self.add("cid", "cids secret", "--scram")
        self.holdfast.start()
        with socket.create_connection((LOOPBACK, self.holdfast.port), timeout=10) as wire:
            wire.settimeout(10)
            reader = wire.makefile("rb")

            def packet():
                kind, size, shift = reader.read(1)[0], 0, 0
                while True:
                    byte = reader.read(1)[0]
                    size |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        return kind >> 4, reader.read(size)

            first = "n=cid,r=abcdefgh"
            pairs = [(AUTHENTICATION_METHOD, "SCRAM-SHA-256"), (AUTHENTICATION_DATA, "n,," + first)]
            body = _string("MQTT") + struct.pack(">BBH", V5, 2, 60) + _properties(pairs) + _string("scram")
            wire.sendall(bytes([0x10, len(body)]) + body)
            kind, auth = packet()
            self.assertEqual((15, 0x18), (kind, auth[0]))
            challenge = auth[auth.index(b"r=abcdefgh"):].decode()
            fields = dict(field.split("=", 1) for field in challenge.split(","))
            salted = hashlib.pbkdf2_hmac("sha256", b"cids secret", base64.b64decode(fields["s"]), int(fields["i"]))
            bare = "c=biws,r=" + fields["r"]
            message = ",".join((first, challenge, bare)).encode()
            key = hmac.digest(salted, b"Client Key", "sha256")
            signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
            proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
            body = b"\x18" + _properties(
                [(AUTHENTICATION_METHOD, "SCRAM-SHA-256"), (AUTHENTICATION_DATA, f"{bare},p={proof}")]
            )
            wire.sendall(bytes([0xF0, len(body)]) + body)
            kind, connack = packet()
            self.assertEqual((2, 0), (kind, connack[1]))
            server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
            self.assertIn(b"v=" + base64.b64encode(server), connack)
