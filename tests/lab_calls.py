"""A session of Flow Lab as tests talk to it: calls that wait for their answer, and the events so far."""

import base64
import threading
import time

from pushforward.lab import LabSession

PATIENCE = 60
"""Seconds after which a test gives up; nothing is measured by it."""


class Caller:
    """Makes calls of one session."""

    def __init__(self, folder=None, **options):
        self.messages, self.changed, self.number = [], threading.Condition(), 0
        self.session = LabSession(self.hear, folder, **options)

    def hear(self, message):
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()

    def until(self, condition):
        """The first message for which a condition holds, now or later."""
        end = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                for message in self.messages:
                    if condition(message):
                        return message
                if not self.changed.wait(end - time.monotonic()):
                    raise TimeoutError(f"no such message among {len(self.messages)}")

    def answer(self, call, **arguments):
        self.number += 1
        number = self.number
        self.session.handle({"id": number, "call": call, "with": arguments})
        return self.until(lambda message: message.get("id") == number)

    def __call__(self, call, **arguments):
        """The result of a call."""
        answer = self.answer(call, **arguments)
        assert "result" in answer, answer
        return answer["result"]

    def error(self, call, **arguments):
        """The sentence by which a call is refused."""
        answer = self.answer(call, **arguments)
        assert set(answer) == {"id", "error"}, answer
        return answer["error"]

    def events(self, name="train"):
        with self.changed:
            return [message["data"] for message in self.messages if message.get("event") == name]

    def event(self, condition, name="train"):
        """The data of the first event for which a condition holds."""
        return self.until(lambda message: message.get("event") == name and condition(message["data"]))["data"]


def in_base64(content):
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()
