// rhea at the hub: messages, outcomes, credit, requests and responses, many links, a lost connection.

const assert = require("node:assert");
const path = require("node:path");
const rhea = require(path.join(process.env.ROADBED_PEERS, "node_modules", "rhea"));

const port = Number(process.argv[2]);
const overWebSocket = process.argv[3] === "websockets";
const patience = 20_000;

/** The next event of that name; an error of the link, session or connection ends the wait. */
function event(emitter, name) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} in time`)), patience);
    emitter.once(name, (context) => (clearTimeout(timer), resolve(context)));
  });
}

function road(container) {
  const WebSocket = require(path.join(process.env.ROADBED_PEERS, "node_modules", "ws"));
  return { connection_details: container.websocket_connect(WebSocket)(`ws://127.0.0.1:${port}/amqp`, ["AMQPWSB10"], {}) };
}

async function connected(options = {}) {
  const container = rhea.create_container();
  const common = { username: "me", reconnect: false, ...options };
  const connection = overWebSocket ? container.connect({ ...road(container), ...common }) : container.connect({ host: "127.0.0.1", port, ...common });
  await event(connection, "connection_open");
  return connection;
}

async function sender(connection, target) {
  const link = connection.open_sender({ target }).setMaxListeners(0);
  await event(link, "sendable");
  return link;
}

/** Sends, and answers the name of the outcome. */
async function send(link, message) {
  const outcomes = ["accepted", "rejected", "released", "modified"].map((name) => event(link, name).then(() => name));
  outcomes.forEach((outcome) => outcome.catch(() => {}));
  link.send(message);
  return Promise.race(outcomes);
}

/** A receiver whose messages wait in a list; nothing is granted or accepted by itself. */
function receiver(connection, source, credit = 0) {
  const link = connection.open_receiver({ source, credit_window: 0, autoaccept: false });
  const waiting = [], wanting = [];
  link.on("message", (context) => (wanting.length ? wanting.shift()(context) : waiting.push(context)));
  if (credit) link.add_credit(credit);
  link.take = () => {
    if (waiting.length) return Promise.resolve(waiting.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no message of ${link.name}`)), patience);
      wanting.push((context) => (clearTimeout(timer), resolve(context)));
    });
  };
  return link;
}

const checks = {
  async bodies_and_properties() {
    const connection = await connected();
    const to = await sender(connection, "queues/rhea"), from = receiver(connection, "queues/rhea", 100);
    const bodies = ["text", "", 42, -1.5, true, null, [1, "two"], { a: 1 }, Buffer.from([0, 255]), "x".repeat(200_000)];
    for (const body of bodies) {
      const sent = {
        body, message_id: "id", correlation_id: 7, subject: "about", reply_to: "answers/1", content_type: "text/plain",
        group_id: "group", application_properties: { text: "a", number: 5, yes: true },
        message_annotations: { "x-opt-mine": "b" }, priority: 7, ttl: 60_000,
      };
      assert.equal(await send(to, sent), "accepted");
      const { message, delivery } = await from.take();
      delivery.accept();
      assert.deepEqual(message.body, body);
      for (const name of ["message_id", "correlation_id", "subject", "reply_to", "content_type", "group_id", "priority"]) {
        assert.equal(message[name], sent[name], name);
      }
      assert.deepEqual(message.application_properties, sent.application_properties);
      assert.equal(message.message_annotations["x-opt-mine"], "b");
      assert(message.ttl > 30_000 && message.ttl <= 60_000, `ttl ${message.ttl}`);
    }
    const data = { body: rhea.message.data_section(Buffer.from("data")) };
    assert.equal(await send(to, data), "accepted");
    const { message, delivery } = await from.take();
    delivery.accept();
    assert.equal(message.body.typecode, 0x75);
    assert.deepEqual(message.body.content, Buffer.from("data"));
    connection.close();
    await event(connection, "connection_close");
  },

  async outcomes() {
    const connection = await connected();
    const to = await sender(connection, "queues/outcomes"), from = receiver(connection, "queues/outcomes", 10);
    assert.equal(await send(to, { body: "x" }), "accepted");
    const steps = [
      (delivery) => delivery.release(), // as if nothing had been
      (delivery) => delivery.modified({ delivery_failed: true }),
      (delivery) => delivery.reject({ condition: "app:no", description: "no" }),
    ];
    for (const [n, step] of steps.entries()) {
      const { message, delivery } = await from.take();
      assert.equal(message.delivery_count ?? 0, [0, 0, 1][n]);
      step(delivery);
    }
    const drained = event(from, "receiver_drained");
    from.drain_credit();
    await drained;
    const { message, delivery } = await receiver(connection, "$dead/outcomes", 1).take();
    assert.equal(message.body, "x");
    delivery.accept();
    assert.equal(await send(await sender(connection, "nobody/listens"), { body: "x" }), "released");
    connection.close();
  },

  async requests_and_responses() {
    const [client, service] = [await connected(), await connected()];
    const requests = receiver(service, "queues/double", 10), replies = await sender(service, {});
    const answers = receiver(client, { dynamic: true }, 10);
    const { receiver: opened } = await event(answers, "receiver_open");
    assert(opened.source.address, "the hub gives the address");
    const to = await sender(client, "queues/double");
    for (let n = 0; n < 5; n++) {
      assert.equal(await send(to, { body: n, reply_to: opened.source.address, correlation_id: `c${n}` }), "accepted");
      const request = await requests.take();
      request.delivery.accept();
      const { reply_to, correlation_id, body } = request.message;
      assert.equal(await send(replies, { to: reply_to, correlation_id, body: body * 2 }), "accepted");
      const answer = await answers.take();
      answer.delivery.accept();
      assert.deepEqual([answer.message.body, answer.message.correlation_id], [2 * n, `c${n}`]);
    }
    client.close();
    service.close();
  },

  async refused_links() {
    const connection = await connected();
    const refused = connection.open_sender("$nowhere/x");
    const { sender: link } = await event(refused, "sender_error");
    assert.equal(link.error.condition, "amqp:not-found");
    assert.equal(await send(await sender(connection, "queues/fine"), { body: "x" }), "accepted");
    connection.close();
  },

  async many_messages_with_the_window_of_the_library() {
    const connection = await connected({ max_frame_size: 1024 });
    const link = connection.open_receiver({ source: "queues/many" }); // it grants and accepts by itself
    const count = 2000, got = [];
    const all = new Promise((resolve) =>
      link.on("message", ({ message }) => got.push(message.body) === count && resolve()));
    const to = await sender(connection, "queues/many");
    let [sent, answered] = [0, 0];
    const fill = () => { while (to.sendable() && sent < count) to.send({ body: sent++ }); };
    const settled = new Promise((resolve) => to.on("accepted", () => ++answered === count && resolve()));
    to.on("sendable", fill);
    fill();
    await Promise.race([Promise.all([all, settled]), new Promise((_, no) => setTimeout(no, patience, new Error(`${got.length} of ${count}`)))]);
    assert.deepEqual(got, [...Array(count).keys()]);
    connection.close();
  },

  async a_connection_that_is_lost_gives_back_what_it_held() {
    const connection = await connected();
    const from = receiver(connection, "queues/lost", 1);
    assert.equal(await send(await sender(connection, "queues/lost"), { body: "x" }), "accepted");
    await from.take();
    // Over WebSocket there is no way to cut it: that ends, and AMQP has not said so.
    overWebSocket ? connection.socket.end() : connection.socket.destroy();
    const other = await connected();
    const { message, delivery } = await receiver(other, "queues/lost", 1).take();
    assert.deepEqual([message.body, message.delivery_count], ["x", 1]);
    delivery.accept();
    other.close();
  },
};

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    await check();
    console.log("ok", name);
  }
  console.log("all checks passed");
  process.exit(0);
})().catch((error) => (console.error(error), process.exit(1)));
