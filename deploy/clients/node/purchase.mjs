// A purchase over JSON: is the account fit, whose phone is it, charge, look, give back, say thanks.
//
//   node purchase.mjs NUMBER [ORDER]
//
// ORDER is your id of this purchase. Make it once, write it down before the first call, and use it for every repeat.
// Run this again with the same ORDER, whatever happened the first time: nobody is charged twice.
//
// From the environment: ONBILL_URL (default http://127.0.0.1:8080), ONBILL_KEY (default the sandbox's demo-key), and
// ONBILL_PIN=ask to type the PIN; otherwise it is read from the sandbox's phone.
//
// Exit codes: 0 done, 1 refused, 2 the charge failed, 75 in doubt: run it again later with the same ORDER.
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline/promises";
import { InDoubt, Onbill, Refused } from "./onbill-json.mjs";

const [number, orderId = `order-${randomUUID()}`] = process.argv.slice(2);
const { ONBILL_URL = "http://127.0.0.1:8080", ONBILL_KEY = "demo-key", ONBILL_PIN } = process.env;
const onbill = new Onbill(ONBILL_URL, ONBILL_KEY);

// What the customer types. In the sandbox the phone can be read.
async function pinOfTheCustomer() {
  if (ONBILL_PIN === "ask") {
    const terminal = createInterface({ input: process.stdin, output: process.stdout });
    const typed = await terminal.question("PIN: ");
    terminal.close();
    return typed.trim();
  }
  const inbox = await onbill.send("GET", `/sandbox/messages?address=${number}`);
  return inbox.messages[0].text.match(/\b\d{6}\b/)[0];
}

// 0 where the customer has paid, 2 where they have not.
async function purchase() {
  const who = { type: "MSISDN", address: number };
  const account = await onbill.send("POST", "/account/validate", { ...who, partnerProduct: "ott-basic" });
  console.log(`account: ${account.status}, ${account.type}`);

  await onbill.send("POST", "/pin", who);
  await onbill.send("POST", "/pin/validation", { ...who, pin: await pinOfTheCustomer() });
  console.log("the phone is the customer's");

  // Everything of the order stands here once. A repeat that differs in anything is another request, and is refused.
  const order = {
    extTransactionId: orderId,
    ...who,
    partnerProduct: "ott-basic",
    amount: "9.99",
    currency: "MXN",
    description: "Films in November",
  };
  let charged = await onbill.send("POST", "/transaction", order);
  console.log(`charge ${orderId}: ${charged.status}, ${charged.description}`);
  if (charged.status === "Pending") {
    // The operator has not answered. Do not charge again under another id: ask.
    charged = await onbill.outcome(orderId);
    console.log(`charge ${orderId}: ${charged.status}, ${charged.message}`);
  }
  if (charged.status === "Pending") throw new InDoubt(`the charge ${orderId} is still Pending`);
  if (charged.status === "Failure") return 2;

  // A refund has an id of its own, which is kept like the order's, and names the charge.
  const refundId = `${orderId}-refund`;
  const refund = { ...order, extTransactionId: refundId, referenceId: orderId, amount: "-9.99" };
  let refunded = await onbill.send("POST", "/transaction", refund);
  if (refunded.status === "Pending") refunded = await onbill.outcome(refundId, "refund");
  console.log(`refund ${refundId}: ${refunded.status}`);

  // With an id a text is sent once, however often the request is.
  const thanks = { ...who, message: "Your purchase was given back.", extNotificationId: `${orderId}-thanks` };
  await onbill.send("POST", "/notification", thanks);
  console.log("the customer was told");
  return 0;
}

try {
  process.exitCode = await purchase();
} catch (error) {
  if (error instanceof Refused) {
    console.error(`refused: ${error.message}`);
    process.exitCode = 1;
  } else if (error instanceof InDoubt) {
    console.error(`in doubt: ${error.message}; run again later with the order ${orderId}`);
    process.exitCode = 75;
  } else {
    throw error;
  }
}
