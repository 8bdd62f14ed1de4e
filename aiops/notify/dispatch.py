"""
From the outbox to the receivers: claim, send, acknowledge; at least once.

A claimed row is leased, so that a crash between sending and acknowledging repeats it under the same key, and of one
subject and receiver only the oldest is out at a time, so that a resolve never overtakes its page. Failures are retried
with full jitter, and not before Retry-After; what cannot be delivered becomes a dead letter. Sends run as tasks: a
call waits a moment for them and leaves slow ones running, so that a sick receiver delays no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable, Mapping, Sequence

import structlog

from aiops.errors import PermanentSendError, StateError, TransientSendError
from aiops.model import Notification
from aiops.ports import Notifier, Outbox, RunBlocking
from aiops.selfstat import SelfStat

log = structlog.get_logger(__name__)

LEASE_S = 60.0
SEND_DEADLINE_S = 15.0
BASE_DELAY_S = 1.0
MAX_DELAY_S = 300.0
GIVE_UP_S = 86_400.0
_MIN_ATTEMPTS = 10
"""Age alone does not kill a message: a clock set forward by a day would bury everything that waits."""
_MAX_ATTEMPTS = 1_000
_PATIENCE_S = 0.5
"""How long a call waits for its sends before it leaves them to end by themselves."""
_FAREWELL_S = 1.0
_MAX_FLYING = 256
_AT_ONCE = 4
"""Sends to one receiver at the same time."""
_MAX_UNACKED = 1_000


def backoff_s(attempts: int, rng: random.Random) -> float:
    """
    Seconds to wait after *attempts* failures: anything up to a bound that doubles ("full jitter").

    Source:
        Brooker, Exponential Backoff and Jitter, AWS Architecture Blog (2015).
    """
    return rng.uniform(0.0, min(MAX_DELAY_S, BASE_DELAY_S * 2.0 ** min(attempts, 16)))


class Dispatcher:
    """
    Sends what an outbox holds.

    Args:
        outbox: Where notifications wait.
        notifiers: Senders by receiver name.
        stat: Counts what was sent, retried and given up.
        rng: Source of jitter.
        run: Runs a blocking call of the outbox, off the loop where it may block.
    """

    def __init__(
        self,
        outbox: Outbox,
        notifiers: Mapping[str, Notifier],
        stat: SelfStat,
        rng: random.Random,
        run: RunBlocking,
    ) -> None:
        self._outbox = outbox
        self._notifiers = notifiers
        self._stat = stat
        self._rng = rng
        self._run = run
        self._flying: dict[str, asyncio.Task[None]] = {}
        self._slots = {name: asyncio.Semaphore(_AT_ONCE) for name in notifiers}
        self._resting: dict[str, float] = {}
        """Receiver to the loop time before which it asked to be left alone."""
        self._unacked: dict[str, None] = {}
        """Sent, but the outbox could not note it: never sent a second time by this process."""
        self._sent = 0
        self._complaint = ""

    async def dispatch(self, now_s: float) -> int:
        """
        Send what is due.

        Args:
            now_s: Wall time of the call.

        Returns:
            Notifications acknowledged since the last call returned.
        """
        loop = asyncio.get_running_loop()
        wall_less_loop_s = now_s - loop.time()
        until_s = loop.time() + _PATIENCE_S
        while True:
            for notification in await self._claim(wall_less_loop_s + loop.time()):
                if notification.key not in self._flying:
                    flight = self._deliver(notification, wall_less_loop_s)
                    self._flying[notification.key] = asyncio.create_task(flight, name=f"send {notification.key}")
            if not self._flying:
                break
            await asyncio.wait(
                self._flying.values(), timeout=max(0.0, until_s - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if not self._land() or loop.time() >= until_s:
                break
        sent, self._sent = self._sent, 0
        return sent

    async def stop(self) -> None:
        """
        Wait a moment for the sends under way, then end them and give up their leases.

        The next start then sends them at once; a crash makes them wait until the lease is over.
        """
        if self._flying:
            await asyncio.wait(self._flying.values(), timeout=_FAREWELL_S)
        cut_off = [key for key, task in self._flying.items() if not task.done()]
        for task in self._flying.values():
            task.cancel()
        await asyncio.gather(*self._flying.values(), return_exceptions=True)
        self._flying.clear()
        with contextlib.suppress(StateError, TimeoutError):  # a sick disk: the lease ends by itself
            async with asyncio.timeout(_FAREWELL_S):
                for key in cut_off:
                    await self._run(functools.partial(self._outbox.retry, key, 0.0, "the daemon stopped while sending"))

    def _land(self) -> bool:
        """Take in the sends that ended; whether any did."""
        ended = {key: task for key, task in self._flying.items() if task.done()}
        for key in ended:
            del self._flying[key]
        for task in ended.values():
            task.result()  # an error of ours must not vanish in a task
        return bool(ended)

    async def _claim(self, now_s: float) -> Sequence[Notification]:
        room = _MAX_FLYING - len(self._flying)
        if room <= 0:
            return ()
        try:
            claimed = await self._run(lambda: self._outbox.claim(now_s, LEASE_S, room))
        except StateError as error:
            if self._complaint != str(error):
                log.error("outbox cannot be read", error=str(error))
            self._complaint = str(error)
            return ()
        self._complaint = ""
        return claimed

    async def _deliver(self, notification: Notification, wall_less_loop_s: float) -> None:
        """Send one notification and tell the outbox what became of it."""
        loop = asyncio.get_running_loop()
        lease_ends_s = loop.time() + LEASE_S
        name, key = notification.receiver, notification.key
        notifier = self._notifiers.get(name)
        if notifier is None:
            await self._bury(notification, wall_less_loop_s + loop.time(), "no receiver of this name in the settings")
            return
        if key in self._unacked:
            await self._ack(notification, wall_less_loop_s + loop.time())
            return
        async with self._slots[name]:
            if loop.time() + SEND_DEADLINE_S >= lease_ends_s:
                return  # waited too long for its turn: after the lease it is claimed again
            rest_s = self._resting.get(name, 0.0) - loop.time()
            try:
                if rest_s > 0:
                    raise TransientSendError("the receiver asked to be left alone", rest_s)
                await self._send(notifier, notification)
            except PermanentSendError as error:
                await self._bury(notification, wall_less_loop_s + loop.time(), str(error))
            except TransientSendError as error:
                await self._retry(notification, wall_less_loop_s + loop.time(), error)
            else:
                await self._ack(notification, wall_less_loop_s + loop.time())

    async def _send(self, notifier: Notifier, notification: Notification) -> None:
        try:
            async with asyncio.timeout(SEND_DEADLINE_S):
                await notifier.send(notification)
        except TimeoutError:
            raise TransientSendError(f"no answer within {SEND_DEADLINE_S:g} s") from None
        except (PermanentSendError, TransientSendError):
            raise
        except Exception as error:  # noqa: BLE001 (one broken sender must not end the others)
            self._stat.internal_errors.labels("notify").inc()
            # its text may hold the URL
            raise TransientSendError(f"the sender failed: {type(error).__name__}") from None

    async def _ack(self, notification: Notification, now_s: float) -> None:
        key, again = notification.key, notification.key in self._unacked
        if not again:
            self._stat.notifications.labels(notification.receiver, "sent").inc()
            self._sent += 1
            log.info("notification sent", key=key, receiver=notification.receiver, attempts=notification.attempts + 1)
        if await self._note(lambda: self._outbox.ack(key, now_s)):
            self._unacked.pop(key, None)
        elif len(self._unacked) < _MAX_UNACKED:
            self._unacked[key] = None

    async def _retry(self, notification: Notification, now_s: float, error: TransientSendError) -> None:
        attempts = notification.attempts + 1
        old = now_s - notification.created_at_s >= GIVE_UP_S and attempts >= _MIN_ATTEMPTS
        if old or attempts >= _MAX_ATTEMPTS:
            await self._bury(notification, now_s, f"given up after {attempts} attempts: {error}")
            return
        asked_s = error.retry_after_s or 0.0
        if asked_s:
            self._resting[notification.receiver] = asyncio.get_running_loop().time() + asked_s
        wait_s = asked_s + backoff_s(notification.attempts, self._rng)
        self._stat.notifications.labels(notification.receiver, "retried").inc()
        log.warning(
            "notification will be retried",
            key=notification.key, receiver=notification.receiver, attempts=attempts, wait_s=round(wait_s, 1),
            error=str(error),
        )  # fmt: skip
        await self._note(lambda: self._outbox.retry(notification.key, now_s + wait_s, str(error)))

    async def _bury(self, notification: Notification, now_s: float, error: str) -> None:
        self._stat.notifications.labels(notification.receiver, "dead").inc()
        log.error(
            "notification given up",
            key=notification.key, receiver=notification.receiver, title=notification.message.title, error=error,
        )  # fmt: skip
        await self._note(lambda: self._outbox.bury(notification.key, now_s, error))

    async def _note(self, work: Callable[[], None]) -> bool:
        """Tell the outbox; False when it cannot be written, and the lease has to run out."""
        try:
            await self._run(work)
        except StateError as error:
            log.error("outbox cannot be written", error=str(error))
            return False
        return True
