// Takes onbill's events, and believes only those that are signed: Standard Webhooks 1.0, with Node alone.
//
//   WEBHOOK_SECRETS=whsec_... node webhook.mjs 8099
//
// WEBHOOK_SECRETS is one secret, or two with a comma between while you change from one to the other.
//
// An event comes at least once, so each is looked up by `webhook-id` before anything is done. Answer 2xx once it is
// safely kept, and do the work afterwards: an answer that takes 15 seconds counts as none, and the event comes again.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// Older or newer than this is not taken, so that nobody can send an event again that they have overheard.
const TOLERANCE_S = 300;
const BODY_BYTES_MAX = 65_536;
const secrets = process.env.WEBHOOK_SECRETS.split(",");
// Yours is a table with a unique key: two of these processes do not know of one another.
const seen = new Set();

// Whether one of the secrets has signed this body, at about this time.
function isSigned(headers, body, nowS) {
  const id = headers["webhook-id"] ?? "";
  const sentAt = headers["webhook-timestamp"] ?? "";
  if (!id || !/^\d+$/.test(sentAt) || Math.abs(nowS - Number(sentAt)) > TOLERANCE_S) return false;
  // A header may hold several signatures, by several secrets and of later versions.
  const offered = (headers["webhook-signature"] ?? "")
    .split(" ")
    .filter((text) => text.startsWith("v1,"))
    .map((text) => Buffer.from(text.slice(3), "base64"));
  return secrets.some((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    const wanted = createHmac("sha256", key).update(`${id}.${sentAt}.`).update(body).digest();
    // timingSafeEqual takes the same time for every wrong signature.
    return offered.some((text) => text.length === wanted.length && timingSafeEqual(text, wanted));
  });
}

const server = createServer(async (request, response) => {
  // The bytes as they came: JSON that was read and written again has another signature.
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > BODY_BYTES_MAX) return response.writeHead(413, { Connection: "close" }).end();
    parts.push(part);
  }
  const body = Buffer.concat(parts);
  if (request.method !== "POST" || !isSigned(request.headers, body, Date.now() / 1000)) {
    return response.writeHead(401).end();
  }
  const event = JSON.parse(body);
  if (!seen.has(event.id)) {
    seen.add(event.id);
    console.log(`${event.type} ${event.data.extTransactionId} ${event.data.status}`);
  }
  return response.writeHead(204).end();
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
