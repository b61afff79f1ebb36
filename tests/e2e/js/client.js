// MQTT.js, as those who write apps use it, at the end of a pipe: tests/e2e/mqttjs.py writes one JSON object a line, and is told
// in the same way what happened.
//
//     {"id": 1, "do": "connect", "client": "a", "url": "mqtt://127.0.0.1:1883", "options": {...}}
//     {"id": 1, "ok": {...}}                               the callback came
//     {"id": 1, "error": "...", "code": 5}                 it came with an error
//     {"client": "a", "event": "message", "topic": ...}    what the client emits by itself
//
//     node client.js FOLDER      in FOLDER/node_modules is `mqtt`
"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");
const mqtt = require(path.join(path.resolve(process.argv[2]), "node_modules", "mqtt"));

const clients = new Map();

function say(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

function connect(name, url, options) {
  const { ca_file: ca, cert_file: cert, key_file: key, ...rest } = options;
  if (ca) rest.ca = fs.readFileSync(ca);
  if (cert) rest.cert = fs.readFileSync(cert);
  if (key) rest.key = fs.readFileSync(key);
  const client = mqtt.connect(url, rest);
  clients.set(name, client);
  const tell = (event, more) => say({ client: name, event, ...more });
  client.on("connect", (connack) =>
    tell("connect", {
      session: connack.sessionPresent,
      reason: connack.reasonCode ?? connack.returnCode,
      properties: connack.properties ?? {},
    }),
  );
  client.on("message", (topic, payload, packet) =>
    tell("message", {
      topic,
      payload: payload.toString("base64"),
      qos: packet.qos,
      retain: packet.retain,
      dup: packet.dup,
      properties: packet.properties ?? {},
    }),
  );
  client.on("error", (error) => tell("error", { text: String(error.message || error), code: error.code }));
  client.on("disconnect", (packet) => tell("disconnect", { reason: packet.reasonCode }));
  for (const event of ["close", "offline", "reconnect", "end"]) client.on(event, () => tell(event));
}

function run(request) {
  const { id, do: what, client: name } = request;
  const done = (error, answer) => {
    if (error) return say({ id, error: String(error.message || error), code: error.code });
    say({ id, ok: answer ?? {} });
  };
  if (what === "connect") {
    connect(name, request.url, request.options);
    return done(null);
  }
  const client = clients.get(name);
  switch (what) {
    case "publish":
      if (request.options.properties?.correlationData) {
        request.options.properties.correlationData = Buffer.from(request.options.properties.correlationData, "base64");
      }
      return client.publish(request.topic, Buffer.from(request.payload, "base64"), request.options, (error) => done(error));
    case "subscribe":
      return client.subscribe(request.topics, request.options, (error, granted) => done(error, { granted }));
    case "unsubscribe":
      return client.unsubscribe(request.topics, (error) => done(error));
    case "end": // Without a goodbye if forced.
      return client.end(request.force, (error) => done(error));
    case "drop": // The connection ends as a network ends it; the client comes back by itself.
      client.stream.destroy();
      return done(null);
    default:
      return done(new Error(`nobody knows how to ${what}`));
  }
}

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const request = JSON.parse(line);
    try {
      run(request);
    } catch (error) {
      say({ id: request.id, error: String(error.message || error) });
    }
  })
  .on("close", () => process.exit(0));
