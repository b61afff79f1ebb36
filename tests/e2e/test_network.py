"""The network itself: cables that are unplugged and plugged in again, addresses that go, and networks that never rest.

Each machine has a network namespace of its own. Where there can be none, those tests say so and are left out.
"""

import datetime
import pathlib
import sys
import time
import unittest

from harness import LOOPBACK, Case, wait_for, waits
from namespaces import Namespace, unavailable

HERE = pathlib.Path(__file__).resolve().parent
HUB = "10.77.9.1"  # On the hub's loopback interface: it can be reached by either cable.


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Sandbox(Case):
    def test_a_network_that_may_not_be_watched(self):
        """Goal: where the kernel gives no netlink, the node says so once and goes on without."""
        hub = self.hub()
        site = self.site(hub)
        site.start(wrap=[sys.executable, HERE / "without_netlink.py"])
        self.wait_state(site, "online")
        self.assertEqual(1, site.log_path.read_text().count("HF-IO-006"))
        self.assertIn("AF_NETLINK", site.log_path.read_text())
        # Who has no parent needs no network to be watched.
        self.assertNotIn("HF-IO-006", hub.log_path.read_text())


class Network(Case):
    def setUp(self):
        why = unavailable()
        if why:
            raise unittest.SkipTest(why)

    def machines(self, cables):
        """Hub and site, each on a machine of its own, with so many cables between them; the first is preferred."""
        self.hub_net = Namespace()
        self.keep(self.hub_net.close)
        self.site_net = Namespace(self.hub_net)
        self.keep(self.site_net.close)
        self.hub_net.ip("addr", "add", f"{HUB}/32", "dev", "lo")
        for number in range(cables):
            self.site_net.cable(f"wan{number}", self.hub_net, f"lan{number}")
            self.hub_net.ip("addr", "add", f"10.77.{number}.1/24", "dev", f"lan{number}")
            self.plug_in(number)
        self.hub = self.node("hub")
        self.open_up(self.hub, listen=f"0.0.0.0:{self.hub.port}")
        self.hub.start(wait=False, wrap=self.hub_net.enter)
        wait_for("the hub", self.hub.status, 10)
        claim = self.hub.claim_for("site", self.directory / "site.claim")
        upstream = f'\n[upstream]\nhost = "{HUB}"\nport = {self.hub.port}\n'
        self.site = self.node("site", claim=claim, extra=upstream)
        self.open_up(self.site)
        self.site.start(wait=False, wrap=self.site_net.enter)

    def open_up(self, node, listen=None):
        path = node.directory / "holdfast.toml"
        text = path.read_text()
        if listen:
            text = text.replace(f"{LOOPBACK}:{node.port}", listen)
        path.write_text("insecure = true\n" + text)

    def plug_in(self, number):
        """An address and a route at the site's end, as DHCP would bring them."""
        self.site_net.ip("addr", "add", f"10.77.{number}.2/24", "dev", f"wan{number}")
        self.route(number)

    def route(self, number):
        via = ["via", f"10.77.{number}.1", "dev", f"wan{number}", "metric", str(100 + number)]
        self.site_net.ip("route", "add", f"{HUB}/32", *via)

    def said_since(self, event, began):
        """How long after `began` the site logged the event. By the times in its log: to ask it takes a process each time."""

        def moments():
            lines = [line.split(" ")[0] for line in self.log().splitlines() if f" {event} " in line]
            return [at for at in map(moment, lines) if at >= began]

        return wait_for(event, moments, 10)[0] - began

    def give_up(self, next_dial_s):
        """Waits until the next attempt is so far away."""
        self.wait_state(self.site, "offline", 30)
        wait_for("a long backoff", lambda: self.next_dial_s() >= next_dial_s, 120, every_s=0.2)
        return self.next_dial_s()

    def next_dial_s(self):
        return self.site.status().get("link", {}).get("next_dial_s") or 0

    def log(self):
        return self.site.log_path.read_text(errors="replace")

    @waits
    def test_a_cable_that_is_plugged_in_is_used_at_once(self):
        """Goal: a site that has long given up dials as soon as there is a network again, however it comes: the link, its
        address, its route. Method: unplugged until the backoff is as long as it gets, which is 15 to 30 s."""
        self.machines(cables=1)
        self.wait_online(self.site)
        took = []
        # The link goes down: the kernel takes the route away and keeps the address, so the connection has to time out.
        self.site_net.ip("link", "set", "wan0", "down")
        away_s = self.give_up(16)
        began = time.time()
        self.site_net.ip("link", "set", "wan0", "up")
        self.route(0)
        took.append(self.said_since("HF-LINK-001", began))
        # The address goes, and with it the connection, at once.
        began = time.time()
        self.site_net.ip("addr", "flush", "dev", "wan0")
        noticed_s = self.said_since("HF-IO-005", began)
        self.give_up(3)
        began = time.time()
        self.plug_in(0)
        took.append(self.said_since("HF-LINK-001", began))
        for seconds in took:
            self.assertLess(seconds, 2)
        self.assertLess(noticed_s, 2)
        self.note = (
            f"online {', '.join(f'{s:.1f}' for s in took)} s after the network, {away_s:.0f} s before the next attempt; "
            f"an address that went was noticed in {noticed_s:.1f} s"
        )

    @waits
    def test_the_other_cable_takes_over(self):
        """Goal: when the address that the connection stands on goes, the link comes back by another way within two seconds."""
        self.machines(cables=2)
        self.wait_online(self.site)
        began = time.time()
        self.site_net.ip("addr", "flush", "dev", "wan0")
        self.said_since("HF-IO-005", began)
        seconds = self.said_since("HF-LINK-001", began)
        self.assertLess(seconds, 2)
        self.note = f"online by the other cable after {seconds:.1f} s"

    @waits
    def test_networks_of_others_that_come_and_go_do_no_harm(self):
        """Goal: where containers come and go, a link that stands is left alone, and one that does not makes no flood of
        dials. Method: interfaces with addresses and routes that come and go for five seconds, each way."""
        self.machines(cables=1)
        self.wait_online(self.site)
        said = self.log()
        self.come_and_go(5)
        self.assertEqual(said, self.log())
        self.assertEqual("online", self.site.status()["state"])

        self.site_net.ip("addr", "flush", "dev", "wan0")
        self.give_up(3)
        # It dials a machine that answers nothing but "no": each dial is counted there.
        self.site_net.ip("addr", "add", f"{HUB}/32", "dev", "lo")
        before = self.refusals()
        self.come_and_go(5)
        dials = self.refusals() - before
        self.assertGreaterEqual(dials, 3)
        self.assertLessEqual(dials, 25)
        self.note = f"{dials} dials in 5 s of a network that does not rest"

    def come_and_go(self, seconds):
        end = time.monotonic() + seconds
        count = 0
        while time.monotonic() < end:
            self.site_net.run(
                "sh", "-c",
                "ip link add box type veth peer name box1 && ip link set box up && ip link set box1 up && "
                "ip addr add 172.30.0.1/24 dev box && ip link del box",
            )
            count += 1
        self.assertGreater(count, 10)

    def refusals(self):
        """Resets that this network sent: one for each connection that was refused."""
        lines = [line.split() for line in self.site_net.run("cat", "/proc/net/snmp").splitlines() if line.startswith("Tcp:")]
        return int(lines[1][lines[0].index("OutRsts")])
