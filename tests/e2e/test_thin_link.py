"""The link as thin as it gets: twenty kilobits a second behind a backlog that takes many minutes."""

import time

from harness import Case, wait_for, waits
from thin_link import ThinLink

QUEUED = 100_000
ALARMS = 8
ALARM_WITHIN_S = 3.0
WINDOW_S = 30
ROUTE = '\n[[route]]\nfilter = "alarm/#"\nstream = "alarms"\npriority = 0\n'


class ThinLinkCase(Case):
    @waits
    def test_an_alarm_passes_a_backlog_of_a_hundred_thousand(self):
        """Goal: over 20 kbit/s with 300 ms of delay each way, behind 100,000 queued messages, an alarm that is published at
        the site is with a subscriber at the hub within three seconds; the queue moves in every half minute; nothing is lost,
        doubled or out of order. Method: a minute like that with eight alarms at random moments, then all the rest over
        a fast link. What is queued does not compress to nothing, as measurements do not."""
        hub = self.hub()
        link = ThinLink(hub.port, bytes_per_s=20_000 // 8, delay_s=0.3)
        self.keep(link.close)
        site = self.site(hub, port=link.port, extra=ROUTE).start()
        arrived, when, alarms = [], [], {}  # Numbers, as they come, and when; number -> when.

        def take(message):
            number = int(message.payload.split(b" ")[0])
            if message.topic.startswith("alarm/"):
                self.assertNotIn(number, alarms)
                alarms[number] = time.monotonic()
            else:
                arrived.append(number)
                when.append(time.monotonic())
            at_hub.messages.clear()

        at_hub = self.client(hub.port, "at-hub", on_message=take, subscribe=[("#", 2)]).open()
        sensor = self.client(site.port, "sensor", window=512).open()
        began = time.monotonic()
        sensor.publish_all(
            (("site/x", f'{n} {{"value": {self.random.random():.15f}}}', 1 + n % 2) for n in range(QUEUED)), seconds=180
        )
        queued_s = time.monotonic() - began
        self.assertEqual(QUEUED, site.status()["link"]["backlog_count"])
        link.open()
        site.command("connect")
        self.wait_online(site)
        wait_for("the backlog to move", lambda: len(arrived) > 100, 60)

        guard = self.client(site.port, "guard").open()
        took = []
        began, bytes_before = time.monotonic(), link.up.bytes
        for number in range(ALARMS):
            # Each at some moment of its own share of the time.
            due = began + (number + self.random.random()) * 2 * WINDOW_S / ALARMS
            time.sleep(max(due - time.monotonic(), 0))
            sent = time.monotonic()
            guard.publish("alarm/fire", f"{number} fire", qos=1)
            wait_for(f"alarm {number}", lambda: number in alarms, 60, every_s=0.005)
            took.append(alarms[number] - sent)
        time.sleep(max(began + 2 * WINDOW_S - time.monotonic(), 0))
        moved = [sum(begin <= at - began < begin + WINDOW_S for at in when) for begin in (0, WINDOW_S)]
        thin_bytes = link.up.bytes - bytes_before
        self.assertLess(max(took), ALARM_WITHIN_S, f"alarms took {took}")
        for count in moved:
            self.assertGreater(count, 100)
        self.assertLess(len(arrived), QUEUED)  # Or it was no backlog.

        began = time.monotonic()
        link.bytes_per_s = 0
        wait_for("all the rest", lambda: len(arrived) >= QUEUED, 120)
        rest_s = time.monotonic() - began
        time.sleep(0.5)
        self.assertEqual(list(range(QUEUED)), arrived)
        self.assertEqual(list(range(ALARMS)), list(alarms))
        self.note = (
            f"alarms in {sum(took) / len(took):.1f} s, the worst in {max(took):.1f} s; {moved[0]} and {moved[1]} queued messages "
            f"moved in half a minute each, {thin_bytes / 2 / WINDOW_S * 8 / 1000:.0f} kbit/s; queued in {queued_s:.0f} s, the rest "
            f"drained in {rest_s:.0f} s"
        )
