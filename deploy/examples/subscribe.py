#!/usr/bin/env python3
"""Follows Millrace's routes and alerts on Kafka and prints one line per change; `pip install confluent-kafka` is all it needs.

    subscribe.py HOST:PORT [NAME=VALUE...]    the settings are librdkafka's, but password-file=FILE, which stands for
                                              sasl.password, and prefix=NAME. where topics are called otherwise
"""
import collections, json, sys
from confluent_kafka import Consumer

settings = dict(argument.split("=", 1) for argument in sys.argv[2:])
if "password-file" in settings:
    settings["sasl.password"] = open(settings.pop("password-file")).read().strip()
prefix = settings.pop("prefix", "millrace.")
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "subscriber-example", "auto.offset.reset": "earliest", **settings})
consumer.subscribe([prefix + "routes", prefix + "alerts"])
seen = collections.deque(maxlen=10_000)  # Delivery is at least once: a record that comes again has the same id.
while message := consumer.poll(-1):
    if message.error():
        print(message.error(), file=sys.stderr)  # librdkafka goes on by itself once it can.
    elif message.value() and (event := json.loads(message.value()))["id"] not in seen:
        seen.append(event["id"])
        data, primary = event["data"], event["data"].get("primary") or {}
        what = f"{data['severity']} {data['name']} {data['state']}: {data['summary']}" if "severity" in data else \
            f"epoch {data['epoch']}: write to {primary.get('address', 'nobody')}:{primary.get('port', '-')}"
        print(f"{event['time']} {event['subject'].split('/')[0]} {what}", flush=True)
