// The purchase of purchase.mjs over gRPC, with grpc-js and the retry policy of service-config.json.
//
//   npm install @grpc/grpc-js @grpc/proto-loader
//   node deploy/clients/node/purchase-grpc.mjs NUMBER [ORDER]
//
// What repeats is the channel: it sends the same message again on UNAVAILABLE, with growing pauses, five times in all,
// and nothing else. `Pending` is an answer and no error: WatchTransaction tells when it is final.
//
// From the environment: ONBILL_ADDRESS (default 127.0.0.1:8080), ONBILL_KEY and ONBILL_PIN as in purchase.mjs.
// Exit codes: 0 done, 1 refused, 2 the charge failed, 75 in doubt: run it again later with the same ORDER.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";

// Packages are found from the folder in which this is run.
const require = createRequire(path.join(process.cwd(), "/"));
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const here = path.dirname(fileURLToPath(import.meta.url));
const protos = path.resolve(here, "../../../proto");
const nouns = ["account", "notification", "pin", "sandbox", "transaction"].map((noun) => `onbill/v1/${noun}.proto`);
const { v1 } = grpc.loadPackageDefinition(loader.loadSync(nouns, { includeDirs: [protos], defaults: true })).onbill;

const [number, orderId = `order-${randomUUID()}`] = process.argv.slice(2);
const { ONBILL_ADDRESS = "127.0.0.1:8080", ONBILL_KEY = "demo-key", ONBILL_PIN } = process.env;
const PATIENCE_MS = 30_000;
// After these nobody knows whether it was done: keep the id, and send the same again.
const DOUBT = [grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED];

// Channels that repeat as service-config.json says. For TLS: grpc.credentials.createSsl(), with the same options.
const options = {
  "grpc.enable_retries": 1,
  "grpc.service_config": readFileSync(path.join(here, "../service-config.json"), "utf8"),
};
const stub = (service) => new v1[service](ONBILL_ADDRESS, grpc.credentials.createInsecure(), options);
const [accounts, pins, money, notifications, sandbox] =
  ["AccountService", "PinService", "TransactionService", "NotificationService", "SandboxService"].map(stub);

class InDoubt extends Error {}

const key = new grpc.Metadata();
key.set("x-api-key", ONBILL_KEY);
const call = (service, method, request) =>
  new Promise((resolve, reject) => {
    service[method](request, key, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// What the customer types. In the sandbox the phone can be read.
async function pinOfTheCustomer() {
  if (ONBILL_PIN === "ask") {
    const terminal = createInterface({ input: process.stdin, output: process.stdout });
    const typed = await terminal.question("PIN: ");
    terminal.close();
    return typed.trim();
  }
  const inbox = await call(sandbox, "ListMessages", { address: number });
  return inbox.messages[0].text.match(/\b\d{6}\b/)[0];
}

// Watches a transaction until it is final. A stream that breaks is begun again; it tells where things stand first.
async function outcome(extTransactionId, kind) {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    try {
      for await (const told of money.WatchTransaction({ extTransactionId, kind }, key, { deadline })) {
        console.log(`${kind} ${extTransactionId}: ${told.status}, ${told.message}`);
        if (told.status !== "Pending") return told.status;
      }
    } catch (error) {
      if (!DOUBT.includes(error.code)) throw error;
    }
    await sleep(500);
  }
  throw new InDoubt(`the ${kind} ${extTransactionId} is still Pending`);
}

// 0 where the customer has paid, 2 where they have not.
async function purchase() {
  const who = { type: "MSISDN", address: number };
  const account = await call(accounts, "ValidateAccount", { ...who, partnerProduct: "ott-basic" });
  console.log(`account: ${account.status}, ${account.type}`);

  await call(pins, "SendPin", who);
  await call(pins, "ValidatePin", { ...who, pin: await pinOfTheCustomer() });
  console.log("the phone is the customer's");

  const order = {
    extTransactionId: orderId,
    ...who,
    partnerProduct: "ott-basic",
    amount: "9.99",
    currency: "MXN",
    description: "Films in November",
  };
  let { status } = await call(money, "CreateTransaction", order);
  console.log(`charge ${orderId}: ${status}`);
  // The operator has not answered. Do not charge again under another id: watch.
  if (status === "Pending") status = await outcome(orderId, "charge");
  const found = await call(money, "GetTransaction", { extTransactionId: orderId });
  console.log(`charge ${orderId}: ${found.message}`);
  if (status === "Failure") return 2;

  const refundId = `${orderId}-refund`;
  const refund = { ...order, extTransactionId: refundId, referenceId: orderId, amount: "-9.99" };
  ({ status } = await call(money, "CreateTransaction", refund));
  if (status === "Pending") status = await outcome(refundId, "refund");
  console.log(`refund ${refundId}: ${status}`);

  // With an id a text is sent once, however often the request is.
  const thanks = { ...who, message: "Your purchase was given back.", extNotificationId: `${orderId}-thanks` };
  await call(notifications, "SendNotification", thanks);
  console.log("the customer was told");
  return 0;
}

try {
  process.exitCode = await purchase();
} catch (error) {
  if (error instanceof InDoubt || DOUBT.includes(error.code)) {
    console.error(`in doubt: ${error.message}; run again later with the order ${orderId}`);
    process.exitCode = 75;
  } else if (error.code !== undefined) {
    console.error(`refused: ${grpc.status[error.code] ?? error.code}: ${error.details ?? error.message}`);
    process.exitCode = 1;
  } else {
    throw error;
  }
}
for (const service of [accounts, pins, money, notifications, sandbox]) service.close();
