#!/usr/bin/env python3
"""Article 002's IoT agent with paho-mqtt: waits for the notice of a tunnel, and starts a local proxy as its destination.

Only the endpoint is another one than AWS's: the gate. Differences from the article's script are marked with "(!)".
"""
import argparse
import json
import os
import ssl
import subprocess
import sys

import paho.mqtt.client as mqtt

parser = argparse.ArgumentParser()
parser.add_argument("-e", "--endpoint", required=True, dest="host", help="the gate's host name")
parser.add_argument("-r", "--rootCA", required=True, dest="root_ca", help="the gate's CA (sekisho cert ca)")
parser.add_argument("-c", "--cert", required=True, help="the device's certificate")
parser.add_argument("-k", "--key", required=True, help="its key")
parser.add_argument("-p", "--port", type=int, default=8883)
parser.add_argument("-n", "--thing", default="TunnelTestDevice")
parser.add_argument("-id", "--clientId", dest="client_id", default="basicPubSub")
parser.add_argument("--localproxy", required=True, nargs=argparse.REMAINDER, help="the local proxy and its options, last")
args = parser.parse_args()

# The article listens on ".../tunneling/notify" and publishes there by hand; AWS and Sekisho publish on the first.
topics = [f"$aws/things/{args.thing}/tunnels/notify", f"$aws/things/{args.thing}/tunneling/notify"]


def on_connect(client, userdata, flags, result):
    if result != 0:
        print(f"refused: {mqtt.connack_string(result)}", flush=True)
        sys.exit(1)
    client.subscribe([(topic, 1) for topic in topics])


def on_subscribe(client, userdata, mid, granted):
    print(f"subscribed {granted}", flush=True)


def on_message(client, userdata, message):
    print(f"Received a new message from topic: {message.topic}", flush=True)
    notice = json.loads(message.payload.decode("utf-8"))
    # (!) The token in the environment, not among the arguments, where everybody on the device reads it.
    token = {"AWSIOT_TUNNEL_ACCESS_TOKEN": notice["clientAccessToken"]}
    subprocess.Popen(args.localproxy, env={**os.environ, **token})


client = mqtt.Client(client_id=args.client_id, clean_session=True, protocol=mqtt.MQTTv311)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
context = ssl.create_default_context(cafile=args.root_ca)
context.load_cert_chain(args.cert, args.key)
if args.port == 443:
    context.set_alpn_protocols(["x-amzn-mqtt-ca"])
client.tls_set_context(context)
client.connect(args.host, args.port, keepalive=60)
client.loop_forever()
