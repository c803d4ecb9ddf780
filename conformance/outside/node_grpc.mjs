// @grpc/grpc-js with @grpc/proto-loader against the gateway: the purchase flow, errors, deadlines and replays.
//
// Invariant: the protos are loaded as they stand in proto/, and nothing else here is ours. Details of errors are told
// apart by their bytes only, as Node has no public package for them.
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(process.env.ONBILL_NODE_MODULES + "/");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const files = ["account", "notification", "pin", "sandbox", "transaction"].map((noun) => `onbill/v1/${noun}.proto`);
const { v1 } = grpc.loadPackageDefinition(
  loader.loadSync(files, { includeDirs: [path.join(root, "proto")], longs: String, defaults: true, oneofs: true }),
).onbill;
const address = process.env.ONBILL_ADDRESS;
const client = (service, options = {}) => new v1[service](address, grpc.credentials.createInsecure(), options);
const accounts = client("AccountService");
const pins = client("PinService");
const money = client("TransactionService");
const sandbox = client("SandboxService");

// The answer, with its initial metadata; or the error, with its trailers.
function call(stub, method, request, { key = "demo-key", deadlineMs = 10_000 } = {}) {
  const metadata = new grpc.Metadata();
  if (key !== null) metadata.set("x-api-key", key);
  return new Promise((resolve) => {
    let initial;
    const unary = stub[method](request, metadata, { deadline: Date.now() + deadlineMs }, (error, answer) =>
      resolve({ error, answer, initial }),
    );
    unary.on("metadata", (received) => (initial = received));
  });
}

function same(got, expected, what = "") {
  if (JSON.stringify(got) !== JSON.stringify(expected)) {
    throw new Error(`${what}: got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`);
  }
}

let taken = (process.pid % 400) * 100 + 50_000;
const number = (condition) => `555${String((taken += 1)).padStart(5, "0")}${condition}`;
const id = (prefix) => `${prefix}-node-${process.pid}-${(taken += 1)}`;
const charge = (msisdn, extTransactionId) => ({
  extTransactionId,
  type: "MSISDN",
  address: msisdn,
  partnerProduct: "ott-basic",
  amount: "9.99",
  currency: "MXN",
});

const claims = {
  async "a purchase goes from account to refund"() {
    const [msisdn, extTransactionId] = [number("06"), id("purchase")];
    const account = await call(accounts, "ValidateAccount", { type: "MSISDN", address: msisdn });
    same([account.answer.status, account.answer.type], ["ACTIVE", "prepaid"]);
    same((await call(pins, "SendPin", { type: "MSISDN", address: msisdn })).error, null);
    const inbox = await call(sandbox, "ListMessages", { address: msisdn });
    const [pin] = inbox.answer.messages[0].text.match(/\b\d{6}\b/);
    const right = await call(pins, "ValidatePin", { type: "MSISDN", address: msisdn, pin });
    same(right.error, null);
    const done = await call(money, "CreateTransaction", charge(msisdn, extTransactionId));
    same(done.answer, { extTransactionId, status: "Success", description: "Charge success" });
    const found = await call(money, "GetTransaction", { extTransactionId });
    same([found.answer.amount, found.answer.status, found.answer.chargeDate.nanos], ["9.99", "Success", 0]);
    const back = await call(money, "CreateTransaction", { ...charge(msisdn, extTransactionId), amount: "-9.99" });
    same(back.answer.status, "Success");
    const refund = await call(money, "GetTransaction", { extTransactionId, kind: "refund" });
    same(refund.answer.amount, "-9.99");
    const bill = await call(sandbox, "GetBill", { address: msisdn });
    same([bill.answer.lines.length, bill.answer.total], [2, "0.0"]);
    const list = await call(money, "ListTransactions", { pageSize: 2 });
    same(list.answer.transactions.length, 2);
  },

  async "a repeat says so and charges once"() {
    const request = charge(number("01"), id("repeat"));
    const first = await call(money, "CreateTransaction", request);
    same(first.initial.get("idempotency-replayed"), []);
    const again = await call(money, "CreateTransaction", request);
    same(again.initial.get("idempotency-replayed"), ["true"]);
    same(again.answer, first.answer);
    same((await call(sandbox, "GetBill", { address: request.address })).answer.lines.length, 1);
  },

  async "a reference that is present but empty is told from an absent one"() {
    const request = { ...charge(number("01"), id("reference")), referenceId: "" };
    const { error } = await call(money, "CreateTransaction", request);
    same([error.code, error.details], [grpc.status.INVALID_ARGUMENT, "Invalid request."]);
    const details = Buffer.concat(error.metadata.get("grpc-status-details-bin")).toString("latin1");
    for (const text of ["google.rpc.BadRequest", "REFERENCE_ID_REQUIRED", "reference_id", "google.rpc.ErrorInfo"]) {
      same(details.includes(text), true, text);
    }
  },

  async "errors have their codes"() {
    const { INVALID_ARGUMENT, NOT_FOUND, UNAUTHENTICATED, FAILED_PRECONDITION } = grpc.status;
    const validate = (address, options) => call(accounts, "ValidateAccount", { type: "MSISDN", address }, options);
    for (const [outcome, code, message] of [
      [await validate("abc"), INVALID_ARGUMENT, "Invalid request."],
      [await validate(number("02")), NOT_FOUND, "Account not found"],
      [await validate(number("04")), FAILED_PRECONDITION, "Account is suspended because of lost phone"],
      [await validate(number("01"), { key: null }), UNAUTHENTICATED, "Not authorized."],
      [await call(money, "GetTransaction", { extTransactionId: "none" }), NOT_FOUND, "Transaction not found"],
    ]) {
      same([outcome.error?.code, outcome.error?.details], [code, message]);
    }
  },

  async "a deadline ends the wait"() {
    const outcome = await call(accounts, "ValidateAccount", { type: "MSISDN", address: number("13") }, { deadlineMs: 50 });
    const { DEADLINE_EXCEEDED, UNAVAILABLE } = grpc.status;
    same([DEADLINE_EXCEEDED, UNAVAILABLE].includes(outcome.error?.code), true, String(outcome.error));
  },

  async "gzip is understood"() {
    const packed = client("TransactionService", {
      "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip,
    });
    const request = { ...charge(number("01"), id("gzip")), description: "films ".repeat(20) };
    const outcome = await call(packed, "CreateTransaction", request);
    same(outcome.answer?.status, "Success", String(outcome.error));
    packed.close();
  },

  async "two hundred calls share one connection"() {
    const calls = Array.from({ length: 200 }, () =>
      call(accounts, "ValidateAccount", { type: "MSISDN", address: number("01") }),
    );
    const failed = (await Promise.all(calls)).filter(({ error }) => error);
    same(failed.length, 0, String(failed[0]?.error));
  },
};

let failed = 0;
for (const [text, check] of Object.entries(claims)) {
  try {
    await check();
    console.log(`ok - grpc-js: ${text}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok - grpc-js: ${text}: ${error.message}`);
  }
}
process.exit(failed ? 1 : 0);
