"""The bare counterpart of the worker's intake: a paho subscriber whose callback counts, and does nothing else."""

import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from app.bench.programs import answer, read_task, wait_begin
from app.clock import monotonic_s
from app.mqtt.topics import ALL_UP, QOS


class _Count:
    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.seen = 0
        self.ended_s = 0.0
        self.subscribed = threading.Event()
        self.all_seen = threading.Event()

    def on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe(ALL_UP, qos=QOS)

    def on_message(self, _client: paho.Client, _userdata: Any, _message: paho.MQTTMessage) -> None:
        self.seen += 1
        if self.seen == self.wanted:
            self.ended_s = monotonic_s()
            self.all_seen.set()


def main() -> None:
    task = read_task()
    count = _Count(task["messages"])
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-subscriber", protocol=paho.MQTTv311)
    client.username_pw_set(task["user"], task["password"])
    client.on_connect = count.on_connect
    client.on_subscribe = lambda *_: count.subscribed.set()
    client.on_message = count.on_message
    client.connect(task["host"], task["port"])
    client.loop_start()
    if not count.subscribed.wait(30):
        raise TimeoutError("the broker did not grant the subscription")
    wait_begin()
    count.all_seen.wait(task["within_s"])
    answer(seen=count.seen, ended_s=count.ended_s)
    client.disconnect()


if __name__ == "__main__":
    main()
