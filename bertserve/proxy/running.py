"""nginx watched, and told of each change.

It listens at once, so that whoever waits for the proxy before he starts the server (Kubernetes does)
waits not for ever. Until the server's key is known, requests are answered with 502 `unavailable`; whether
models are ready is asked through it, too, at /v2/health/ready.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import BertserveError, ConfigError, ServerError
from ..system import ENDINGS, scratch_folder, sentence
from .configuration import Place, render
from .nginx import Nginx, check_log
from .sight import Sight, expires_soon, look

# seconds
_INTERVAL = 1.0  # between two looks
_POLL = 0.05  # a signal may wait so long
Say = Callable[[str], None]


def run(place: Place, say: Say) -> None:
    """Run nginx until SIGTERM, after which it answers what it was asked; Ctrl-C ends it.

    `say` is told of changes, a sentence each. ConfigError where it cannot start, ServerError where it
    ends by itself.
    """
    check_log()
    seen = look(place)
    with scratch_folder("proxy") as folder:
        nginx = Nginx(folder)
        nginx.write(_files(place, folder, seen))
        if why := nginx.refusal():
            raise ConfigError(f"nginx refuses its configuration: {why}")
        watched = _Watched(place, nginx, seen, say)
        # but for what nohup has ignored
        endings = {each for each in ENDINGS if signal.getsignal(each) is not signal.SIG_IGN}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*endings, signal.SIGCHLD})
        try:
            nginx.start()
            if nginx.ended() is None:
                say(f"nginx listens at {place.http} for HTTP, at {place.grpc} for gRPC")
                watched.tell(None)
            _watch(watched, nginx, endings)
        finally:
            nginx.end(gracefully=False)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(watched: _Watched, nginx: Nginx, endings: set[signal.Signals]) -> None:
    """Until nginx has ended; ServerError where nobody asked it to."""
    is_ending = False
    while (status := nginx.ended()) is None:
        came = _signal({*endings, signal.SIGCHLD}, _INTERVAL)
        if came is None:
            if not is_ending:
                watched.look()
        elif came != signal.SIGCHLD:
            nginx.end(gracefully=came == signal.SIGTERM and not is_ending)
            is_ending = True
    if not is_ending:
        raise ServerError(
            f"nginx has ended by itself ({status}), and may have said above why; start the proxy again"
        )


def _signal(wanted: set[signal.Signals], patience: float) -> int | None:
    """One that has come, or comes within so many seconds.

    Python's own wait gives a number that was never sent where the process is stopped or frozen meanwhile.
    """
    last = time.monotonic() + patience
    while (came := signal.sigtimedwait(wanted, 0)) is None and time.monotonic() < last:
        time.sleep(_POLL)
    return came.si_signo if came else None


class _Watched:
    """What nginx goes by now, and how it gets to know what has changed."""

    def __init__(self, place: Place, nginx: Nginx, seen: Sight, say: Say) -> None:
        self._place, self._nginx, self._seen, self._say = place, nginx, seen, say
        self._trouble = ""
        self._refused: Mapping[str, str] | None = None

    def look(self) -> None:
        """See what has changed, and have nginx go by it."""
        trouble = ""
        try:
            if self._seen.key and expires_soon(self._place):
                # TorchServe knows one key at a time, and tells who shows another that his token is wrong
                self._apply(replace(self._seen, key=None))
                self._nginx.pass_on()
            self._apply(look(self._place))
        except BertserveError as error:  # what was known before holds on
            trouble = str(error)
        except OSError as error:
            trouble = sentence(error)
        if trouble and trouble != self._trouble:
            self._say(trouble)
        self._trouble = trouble

    def _apply(self, seen: Sight) -> None:
        if seen.certificate == self._refused:
            seen = replace(seen, certificate=self._seen.certificate)
        if seen == self._seen:
            return
        files = _files(self._place, self._nginx.folder, seen)
        if files != _files(self._place, self._nginx.folder, self._seen):
            self._nginx.write(files)
            if why := self._nginx.refusal():
                if seen.certificate == self._seen.certificate:
                    raise ConfigError(f"nginx goes on as before, for it refuses a change: {why}")
                self._say(f"nginx refuses the certificate and goes on with the former: {why}")
                self._refused = seen.certificate  # all else that has changed holds
                self._apply(seen)
                return
            self._nginx.reload()
        former, self._seen = self._seen, seen
        self.tell(former)

    def tell(self, former: Sight | None) -> None:
        """Say what is different from before."""
        now = self._seen
        if former is None or former.callers != now.callers:
            self._say(f"may call: {now.callers}")
        for problem in now.problems:
            if former is None or problem not in former.problems:
                self._say(problem)
        if (former is None or former.key is not None) and now.key is None:
            self._say("the server's key is not known; requests are answered with 502 until it is")
        elif former and former.key is None and now.key is not None:
            self._say("the server's key is known")


def _files(place: Place, folder: Path, seen: Sight) -> dict[str, str]:
    return {
        **render(place, folder, seen.addresses, seen.tokens, seen.key),
        **seen.certificate,
    }
