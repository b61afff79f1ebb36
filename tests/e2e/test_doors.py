"""The doors: TLS, client certificates, WebSocket, a proxy's header, the unix socket, and the link between nodes over TLS."""

import base64
import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

from harness import LOOPBACK, Case, command, free_port, wait_for, waits
from mqtt import Client, Refused

PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_header(source, port):
    addresses = socket.inet_aton(source) + socket.inet_aton(LOOPBACK) + struct.pack(">HH", port, 1883)
    return PROXY_SIGNATURE + b"\x21\x11" + struct.pack(">H", len(addresses)) + addresses


class Tls:
    """Looks like a socket. Not ssl.SSLSocket, because one thread reads while others write, which OpenSSL does not allow."""

    def __init__(self, carrier, context, name="hub.example", session=None):
        self.carrier = carrier
        self._lock = threading.Lock()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        while True:
            try:
                self.tls.do_handshake()
                return self._flush()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
            except ssl.SSLError:
                self._flush()
                raise

    def _flush(self):
        data = self._out.read()
        if data:
            self.carrier.sendall(data)

    def _feed(self):
        data = self.carrier.recv(65536)
        if not data:
            raise OSError("the server closed the connection")
        with self._lock:
            self._in.write(data)

    def sendall(self, data):
        with self._lock:
            self.tls.write(data)
            self._flush()

    def recv(self, size):
        while True:
            with self._lock:
                try:
                    return self.tls.read(size)
                except ssl.SSLWantReadError:
                    self._flush()
                except ssl.SSLZeroReturnError:
                    return b""
            self._feed()

    def certificate(self):
        return ssl.DER_cert_to_PEM_cert(self.tls.getpeercert(binary_form=True))

    def close(self):
        self.carrier.close()

    def shutdown(self, how):
        self.carrier.shutdown(how)


class WebSocket:
    """Looks like a socket to the MQTT client: what is sent becomes masked binary frames, what comes is unpacked."""

    def __init__(self, carrier, origin=None, protocol="mqtt", path="/mqtt"):
        self.carrier = carrier
        self._left = b""  # Of the wire.
        self._payload = b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {LOOPBACK}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        lines += [f"Origin: {origin}"] if origin else []
        carrier.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._left:
            self._more()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])
        if self.status == 101:
            wanted = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            if b"Sec-WebSocket-Accept: " + wanted not in head:
                raise OSError("a wrong Sec-WebSocket-Accept")

    def _more(self):
        more = self.carrier.recv(65536)
        if not more:
            raise OSError("the server closed the connection")
        self._left += more

    def _take(self, size):
        while len(self._left) < size:
            self._more()
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def frame(self):
        """The next frame: (opcode, payload)."""
        first, size = self._take(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        return first & 15, self._take(size)

    def send_frame(self, opcode, payload, final=True):
        mask = os.urandom(4)
        head = bytes([(0x80 if final else 0) | opcode])
        if len(payload) < 126:
            head += bytes([0x80 | len(payload)])
        else:
            head += struct.pack(">BH", 0x80 | 126, len(payload))
        self.carrier.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

    def sendall(self, data):
        # In pieces that know nothing of packets.
        for at in range(0, len(data), 7):
            self.send_frame(2 if at == 0 else 0, data[at : at + 7], at + 7 >= len(data))

    def recv(self, size):
        while not self._payload:
            opcode, payload = self.frame()
            if opcode == 8:
                return b""
            if opcode == 2:
                self._payload = payload
        taken, self._payload = self._payload[:size], self._payload[size:]
        return taken

    def close(self):
        self.carrier.close()

    def shutdown(self, how):
        self.carrier.shutdown(how)


class DoorClient(Client):
    """The test client through a door: `wrap` makes of a connected socket what the door wants to see."""

    def __init__(self, wrap, port, client_id, **options):
        super().__init__(port, client_id, **options)
        self.wrap = wrap

    def dial(self):
        return self.wrap(super().dial())


class Doors(Case):
    def openssl(self, *arguments):
        words = ["openssl", *(str(argument) for argument in arguments)]
        subprocess.run(words, check=True, capture_output=True, cwd=self.directory)

    def setUp(self):
        self.authority("ca")
        self.certificate("hub", "DNS:hub.example,IP:127.0.0.1")

    def authority(self, name):
        self.openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )

    def certificate(self, name, san="", common_name=None, days=30, ca="ca"):
        """NAME.pem and NAME.key, in the place of what was there."""
        self.openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={common_name or name}", "-keyout", f"{name}.key.new", "-out", f"{name}.csr"),
        )
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={san}\n" if san else "basicConstraints=CA:FALSE\n")
        self.openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial"),
            *("-days", days, "-extfile", extensions, "-out", f"{name}.pem.new"),
        )
        for end in ("pem", "key"):
            os.chmod(self.directory / f"{name}.{end}.new", 0o600)
            os.rename(self.directory / f"{name}.{end}.new", self.directory / f"{name}.{end}")

    def tls_listener(self, port, *lines):
        return "\n".join(
            [
                "",
                "[[listener]]",
                f'address = "{LOOPBACK}:{port}"',
                'certificate = "../hub.pem"',  # From the data directory, where the configuration lies.
                'key = "../hub.key"',
                *lines,
                "",
            ]
        )

    def door_node(self, extra, name="node"):
        node = self.node(name, extra=extra).start()
        self.logged(node, "HF-RUN-001")  # Its own port listens before the doors do.
        return node

    def context(self, certificate=None, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.directory / "ca.pem")
        if certificate:
            context.load_cert_chain(self.directory / f"{certificate}.pem", self.directory / f"{certificate}.key")
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def through(self, wrap, port, client_id="client", **options):
        client = DoorClient(wrap, port, client_id, **options)
        self.keep(client.abort)
        return client

    def tls_client(self, port, client_id="client", certificate=None, version=None, **options):
        context = self.context(certificate, version)
        return self.through(lambda carrier: Tls(carrier, context), port, client_id, **options)

    def assert_carries(self, client):
        """A message there and back."""
        client.open()
        client.subscribe("there/and/back", 1)
        before = len(client.messages)
        client.publish("there/and/back", "x" * 50_000, qos=1)
        client.wait_until("the message", lambda: len(client.messages) > before)
        self.assertEqual(50_000, len(client.messages[-1].payload))

    def assert_refused(self, client, seconds=10):
        with self.assertRaises(OSError):
            client.open(seconds)

    def connection(self, port):
        made = socket.create_connection((LOOPBACK, port), timeout=15)
        self.keep(made.close)
        return made

    def logged(self, node, part, seconds=10):
        wait_for(f"the log of {node.name} to say {part}", lambda: part in node.log_path.read_text(), seconds)

    def test_tls_1_2_and_1_3_and_nothing_older(self):
        port = free_port()
        node = self.door_node(self.tls_listener(port))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version=version):
                self.assert_carries(self.tls_client(port, version.name, version=version))
        old = subprocess.run(
            ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
        self.assertIn("protocol version", old.stderr)
        self.logged(node, "HF-TLS-005")

    def test_mosquitto_pub_over_tls(self):
        port = free_port()
        node = self.door_node(self.tls_listener(port))
        listener = self.listener(node.port, "from/mosquitto")
        subprocess.run(
            ["mosquitto_pub", "-h", LOOPBACK, "-p", str(port), "-t", "from/mosquitto", "-m", "hello", "-q", "1"]
            + ["--cafile", self.directory / "ca.pem", "--tls-alpn", "mqtt"],
            check=True,
            timeout=10,
            capture_output=True,
        )
        self.assertEqual(b"hello", listener.messages(1)[0][3])

    def test_pub_and_sub_over_tls_and_as_a_user(self):
        """Goal: `pub` and `sub` reach a node as any client does from another machine: TLS, its certificate's name, a user."""
        port = free_port()
        node = self.door_node("anonymous = false\n" + self.tls_listener(port))
        secret = self.directory / "anna.password"
        secret.write_text("annes secret\n")
        self.assertEqual(0, node.command("user", "add", "anna", "--password-file", secret).returncode)
        self.logged(node, "HF-RUN-006")
        where = ["-h", LOOPBACK, "-p", port, "--tls"]
        anna = ["--user", "anna", "--password-file", secret]
        trusted = [*where, "--ca", self.directory / "ca.pem"]
        done = command("pub", *trusted, *anna, "-t", "a/1", "-m", "x" * 100_000, "-q", "2", "-r")
        self.assertEqual(0, done.returncode, done.stderr)
        done = command("sub", *trusted, *anna, "-t", "a/#", "-C", "1", "-W", "10 s")
        self.assertEqual((0, "x" * 100_000 + "\n"), (done.returncode, done.stdout))
        secret.write_text("guess\n")  # Shorter than a new one may be.
        for words, code, said in (
            ([*trusted, *anna], 1, "Bad User Name or Password"),
            (trusted, 1, "Not authorized"),
            ([*where, *anna], 1, "certificate verify failed"),
            ([*where, "--ca", self.directory / "hub.key", *anna], 1, "PEM"),
            (["-h", "localhost", "-p", port, "--tls", "--ca", self.directory / "ca.pem", *anna], 1, "hostname mismatch"),
            (["-h", LOOPBACK, "-p", node.port, "--tls", *anna], 1, "no TLS with"),
            (["-h", LOOPBACK, "-p", free_port(), "--tls", *anna], 3, "cannot connect"),
            (["--tls"], 2, "-h HOST"),
            (["-h", LOOPBACK, "--ca", "x"], 2, "--tls"),
            (["--password-file", secret], 2, "--user"),
            (["--user", "anna"], 2, "--password-file"),  # Nobody is here to be asked.
        ):
            with self.subTest(words):
                done = command("pub", *words, "-t", "a/1", "-m", "x")
                self.assertEqual(code, done.returncode, done.stderr)
                self.assertIn(said, done.stderr)
        self.assertIn("(user 'anna', from 127.0.0.1)", node.log_path.read_text())

    def test_client_certificates_required_and_optional(self):
        required, optional = free_port(), free_port()
        self.certificate("sensor-7")
        self.authority("stranger")
        self.certificate("forged", common_name="sensor-7", ca="stranger")
        node = self.door_node(
            self.tls_listener(required, 'client_ca = "../ca.pem"')
            + self.tls_listener(optional, 'client_ca = "../ca.pem"', 'client_certificate = "optional"')
        )
        self.assert_carries(self.tls_client(required, "with", certificate="sensor-7"))
        self.assert_refused(self.tls_client(required, "without"))
        self.logged(node, "peer did not return a certificate")
        self.assert_carries(self.tls_client(optional, "with", certificate="sensor-7"))
        self.assert_carries(self.tls_client(optional, "without"))
        for port in (required, optional):
            self.assert_refused(self.tls_client(port, "forged", certificate="forged"))
        self.logged(node, "certificate verify failed")

    def test_sessions_are_resumed(self):
        port = free_port()
        self.certificate("sensor-7")
        self.door_node(self.tls_listener(port, 'client_ca = "../ca.pem"'))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context("sensor-7", version)
            made = []

            def wrap(carrier):
                made.append(Tls(carrier, context, session=made[-1].tls.session if made else None))
                return made[-1]

            for index in range(2):
                self.assert_carries(self.through(wrap, port, f"{version.name}-{index}"))
            self.assertTrue(made[1].tls.session_reused)

    def certificate_shown(self, port):
        return Tls(self.connection(port), self.context()).certificate()

    def test_a_new_certificate_and_a_broken_one(self):
        port = free_port()
        node = self.door_node(self.tls_listener(port))
        live = self.tls_client(port, "live")
        self.assert_carries(live)
        first = self.certificate_shown(port)

        self.certificate("hub", "DNS:hub.example")
        wait_for("the new certificate", lambda: self.certificate_shown(port) != first, 10, every_s=0.1)
        second = self.certificate_shown(port)
        self.logged(node, "HF-TLS-001")

        (self.directory / "hub.pem").write_text("nothing of use")
        self.logged(node, "HF-TLS-002")
        self.assertEqual(second, self.certificate_shown(port))

        # SIGHUP reads again, and ends nothing.
        node.process.send_signal(signal.SIGHUP)
        self.logged(node, "HF-IO-004")
        self.assertEqual(second, self.certificate_shown(port))
        self.assertTrue(node.running())

        live.publish("still", "here", qos=1)
        self.assertEqual(1, live.connects)

    def revoke(self, *names):
        """Puts a new list in the place of the old one; what was revoked stays so."""
        config = self.directory / "ca.cnf"
        if not config.exists():
            config.write_text("[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n")
            (self.directory / "index.txt").touch()
        common = ("ca", "-config", config, "-keyfile", "ca.key", "-cert", "ca.pem")
        for name in names:
            self.openssl(*common, "-revoke", f"{name}.pem")
        self.openssl(*common, "-gencrl", "-out", "crl.pem.new")
        os.rename(self.directory / "crl.pem.new", self.directory / "crl.pem")

    def test_a_revoked_certificate_is_cut_off_within_a_second(self):
        """Goal: whose certificate is revoked is out in a second, also over WebSocket, and does not come back, also not by a
        session that TLS could resume; nobody else notices. A list that is broken changes nothing."""
        port, web = free_port(), free_port()
        asks = ['client_ca = "../ca.pem"', 'client_crl = "../crl.pem"']
        self.revoke()
        for name in ("kept", "lost"):
            self.certificate(name)
        listeners = self.tls_listener(port, *asks) + self.tls_listener(web, 'protocol = "websocket"', *asks)
        node = self.door_node(listeners)
        sessions = {}

        def connect(name, version, wrap, port):
            context = self.context(name, version)

            def through(carrier):
                made = Tls(carrier, context, session=sessions.get((name, version, port)))
                self.keep(lambda: sessions.pop((name, version, port), None))
                through.tls = made.tls
                return wrap(made)

            client = self.through(through, port, f"{name}-{version.name}-{port}")
            self.assert_carries(client)
            sessions[name, version, port] = through.tls.session
            return client

        ways = [(lambda tls: tls, port), (WebSocket, web)]
        versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        live = {name: [connect(name, v, *way) for v in versions for way in ways] for name in ("kept", "lost")}
        began = time.monotonic()
        self.revoke("lost")
        wait_for("the end of the revoked", lambda: not any(each.connected() for each in live["lost"]), 5, every_s=0.005)
        seconds = time.monotonic() - began
        self.assertLess(seconds, 1)
        self.assertIn("HF-TLS-008", node.log_path.read_text())
        for version in versions:
            for way in ways:
                with self.assertRaises(OSError):
                    connect("lost", version, *way)
        for client in live["kept"]:
            client.publish("still", "here", qos=1)
            self.assertEqual(1, client.connects)
        (self.directory / "crl.pem").write_text("nothing of use")
        self.logged(node, "HF-TLS-002")
        self.assert_refused(self.tls_client(port, "again", "lost"))
        self.assert_carries(self.tls_client(port, "another", "kept"))
        self.note = f"cut off after {seconds:.2f} s"

    def test_websocket(self):
        plain, secure = free_port(), free_port()
        self.door_node(
            f'\n[[listener]]\naddress = "{LOOPBACK}:{plain}"\nprotocol = "websocket"\n'
            'origins = ["https://app.example"]\n'
            + self.tls_listener(secure, 'protocol = "websocket"', 'origins = ["*"]')
        )
        context = self.context()
        context.set_alpn_protocols(["http/1.1"])
        self.assert_carries(self.through(WebSocket, plain, "ws"))
        self.assert_carries(self.through(lambda carrier: WebSocket(Tls(carrier, context)), secure, "wss"))

        def status(port, wrap=lambda carrier: carrier, **options):
            return WebSocket(wrap(self.connection(port)), **options).status

        self.assertEqual(101, status(plain, origin="https://app.example"))
        self.assertEqual(101, status(plain, origin=f"http://{LOOPBACK}"))
        self.assertEqual(403, status(plain, origin="https://evil.example"))
        self.assertEqual(101, status(secure, lambda c: Tls(c, context), origin="https://evil.example"))
        self.assertEqual(400, status(plain, protocol=None))
        self.assertEqual(404, status(plain, path="/elsewhere"))

        talker = WebSocket(self.connection(plain))
        talker.send_frame(9, b"still there?")
        self.assertEqual((10, b"still there?"), talker.frame())
        talker.send_frame(1, b"text")
        opcode, payload = talker.frame()
        self.assertEqual((8, 1003), (opcode, struct.unpack(">H", payload[:2])[0]))

    def test_a_proxy_tells_who_it_is_for(self):
        port = free_port()
        node = self.door_node(f'\n[[listener]]\naddress = "{LOOPBACK}:{port}"\nproxy = true\n')

        def behind(source):
            def wrap(carrier):
                carrier.sendall(proxy_header(source, 54321))
                return carrier

            return wrap

        self.assert_carries(self.through(behind(LOOPBACK), port, "near"))
        # Clients from elsewhere do not get in, also not through a proxy on this machine.
        with self.assertRaises(Refused):
            self.through(behind("192.0.2.33"), port, "far").open()
        self.assert_refused(self.through(lambda carrier: carrier, port, "without"))
        self.logged(node, "no PROXY header")

    def test_a_unix_socket_for_clients(self):
        node = self.door_node('\n[[listener]]\naddress = "unix:mqtt.sock"\n')

        def local(carrier):
            carrier.close()
            made = socket.socket(socket.AF_UNIX)
            made.connect(str(node.directory / "mqtt.sock"))
            return made

        self.assert_carries(self.through(local, node.port))
        self.assertEqual(0o660, (node.directory / "mqtt.sock").stat().st_mode & 0o777)

    @waits
    def test_who_does_not_speak_tls_or_is_slow(self):
        port = free_port()
        node = self.door_node(self.tls_listener(port))
        self.assert_refused(self.client(port, "plain"))
        self.logged(node, "HF-TLS-005")
        slow = self.connection(port)
        began = time.monotonic()
        slow.sendall(b"\x16\x03\x01")
        while True:
            try:
                slow.settimeout(1)
                if not slow.recv(100):
                    break
            except TimeoutError:
                slow.sendall(b"\x01")  # It always has something to say.
            except OSError:
                break
            self.assertLess(time.monotonic() - began, 13)
        self.assertGreater(time.monotonic() - began, 8)
        self.assert_carries(self.tls_client(port))

    def test_nodes_over_tls(self):
        port = free_port()
        self.certificate("site")
        hub = self.node("hub", extra=self.tls_listener(port, 'client_ca = "../ca.pem"')).start()
        site = self.site(hub, port=port, extra='tls = true\nca = "../ca.pem"\n')
        site.start()
        self.wait_state(site, "offline")
        self.logged(hub, "peer did not return a certificate", 20)
        site.stop()
        config = site.directory / "holdfast.toml"
        config.write_text(config.read_text() + 'certificate = "../site.pem"\nkey = "../site.key"\n')
        site.start()
        self.wait_online(site)
        at_hub = self.listener(hub.port, "site/#", qos=1)
        self.client(site.port, "publisher").open().publish("site/a", "through TLS", qos=1)
        self.assertEqual(b"through TLS", at_hub.messages(1)[0][3])

        # Another name than the certificate's is said to the operator.
        site.stop()
        config.write_text(config.read_text() + 'server_name = "elsewhere.example"\n')
        site.start()
        wait_for(
            "the reason in the status",
            lambda: "certificate verify failed: hostname mismatch" in site.status()["link"]["last_error"],
            20,
            every_s=0.1,
        )

    def test_the_configuration_is_checked(self):
        node = self.node("node", extra=self.tls_listener(free_port()))
        config = node.directory / "holdfast.toml"

        def check():
            done = command("config", "test", config)
            return done.returncode, done.stderr

        self.assertEqual((0, ""), check())
        os.chmod(self.directory / "hub.key", 0o644)
        code, said = check()
        self.assertEqual(0, code)
        self.assertIn("chmod 0400", said)
        self.certificate("other")
        os.rename(self.directory / "other.key", self.directory / "hub.key")
        code, said = check()
        self.assertEqual(78, code)
        self.assertRegex(said, r"holdfast.toml:\d+: `listener.key`: .*hub.key is not the key of the certificate")
        (self.directory / "hub.pem").unlink()
        code, said = check()
        self.assertEqual(78, code)
        self.assertIn("no such file or directory", said)
        node.start(wait=False)
        self.assertEqual(78, node.process.wait(10))
