"""A link as thin as they are at sea: a proxy that lets so many bytes a second through in each direction, each of them late.

All connections share the two directions. What has not gone through waits in the kernel's buffers, which are kept small, so that
whoever sends too much stands before a full socket, as before a modem.
"""

import asyncio
import contextlib
import socket
import threading
import time

from link import LOOPBACK, free_port

PIECE_BYTES = 256  # A tenth of a second at 20 kbit/s.
BUFFER_BYTES = 4096


class _Direction:
    def __init__(self, link):
        self.link = link
        self.bytes = 0
        self._free_at = 0.0

    async def carry(self, reader, writer):
        """From here to there until it ends."""
        late = asyncio.Queue()
        deliver = asyncio.ensure_future(self._deliver(late, writer))
        try:
            while data := await reader.read(PIECE_BYTES):
                await self._pass(len(data))
                late.put_nowait((time.monotonic() + self.link.delay_s, data))
        except OSError:
            pass
        late.put_nowait((time.monotonic() + self.link.delay_s, b""))
        await deliver

    async def _pass(self, count):
        self.bytes += count
        if not self.link.bytes_per_s:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + count / self.link.bytes_per_s
        await asyncio.sleep(self._free_at - now)

    async def _deliver(self, late, writer):
        with contextlib.suppress(OSError):
            while True:
                due, data = await late.get()
                wait_s = due - time.monotonic()
                if wait_s > 0 and self.link.bytes_per_s:
                    await asyncio.sleep(wait_s)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


class ThinLink:
    """Carries connections made to `port` to `target_port`. Nobody listens there before open()."""

    def __init__(self, target_port, bytes_per_s, delay_s):
        self.target_port = target_port
        self.port = free_port()
        self.bytes_per_s = bytes_per_s  # May be changed; 0: as fast as it goes, and at once.
        self.delay_s = delay_s
        self.up = _Direction(self)  # From those who connect here to the target.
        self.down = _Direction(self)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="thin-link", daemon=True)
        self._thread.start()

    def open(self):
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    async def _open(self):
        listener = socket.create_server((LOOPBACK, self.port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)  # Those it accepts have it from here.
        await asyncio.start_server(self._serve, sock=listener, limit=PIECE_BYTES)

    async def _serve(self, near_reader, near_writer):
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        far.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(far, (LOOPBACK, self.target_port))
        except OSError:
            far.close()
            near_writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(sock=far, limit=PIECE_BYTES)
        await asyncio.gather(self.up.carry(near_reader, far_writer), self.down.carry(far_reader, near_writer))

    def close(self):
        async def end():
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
