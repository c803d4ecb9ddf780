// onbill over JSON, with Node's own fetch (Node 18 or later) and nothing else.
//
// The retry rule is in `send`, and it is all that a client has to get right:
//
// - The same request goes out again under the same id. Never make a new id because an answer did not come.
// - It goes out again after 503 and after every doubt: no connection, no answer, a 502 or 504 of something in between.
// - It does not go out again after 400, 401, 403, 404 or 429: sending it unchanged does not help.
// - Attempts are bounded, pauses grow, no two clients pause alike, and `Retry-After` is honoured.
//
// `Pending` is an answer and no error: `outcome` asks until it is final.

const ATTEMPTS_MAX = 5;
const FIRST_PAUSE_MS = 500;
const PAUSE_MAX_MS = 5_000;
const ANSWER_MAX_MS = 15_000;

// onbill said no, and will say it again.
export class Refused extends Error {}

// All attempts are used up. Keep the id, and send the very same request again later.
export class InDoubt extends Error {}

// Growing, spread out, and never less than the gateway has asked for.
function pauseMs(attempt, retryAfterMs) {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), PAUSE_MAX_MS);
  return retryAfterMs + longest / 2 + (Math.random() * longest) / 2;
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Onbill {
  constructor(url, key) {
    this.url = url.replace(/\/$/, "");
    this.headers = { "X-API-KEY": key, "Content-Type": "application/json" };
  }

  // Sends a request until it is answered: the answer, or null where it is empty.
  async send(method, path, body) {
    const request = { method, headers: this.headers, body: body && JSON.stringify(body) };
    let why;
    for (let attempt = 0, retryAfterMs = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      if (attempt > 0) await sleep(pauseMs(attempt, retryAfterMs));
      retryAfterMs = 0;
      let answer, text;
      try {
        answer = await fetch(this.url + path, { ...request, signal: AbortSignal.timeout(ANSWER_MAX_MS) });
        text = await answer.text();
      } catch (error) {
        // No connection, no answer in time, or half of one. It may have been done: the id makes it safe to ask.
        why = error.cause?.message ?? error.message;
        continue;
      }
      if (answer.ok) return text ? JSON.parse(text) : null;
      if (![502, 503, 504].includes(answer.status)) throw new Refused(`${answer.status} ${text}`);
      retryAfterMs = 1000 * Number(answer.headers.get("retry-after") ?? 0);
      why = answer.status;
    }
    throw new InDoubt(`${method} ${path}: ${why}, ${ATTEMPTS_MAX} times`);
  }

  // Asks what became of a transaction until that is final, or Pending when patience is at its end.
  async outcome(extTransactionId, kind = "charge", patienceMs = 30_000) {
    const until = Date.now() + patienceMs;
    for (let attempt = 1; ; attempt += 1) {
      const found = await this.send("GET", `/transaction/${extTransactionId}?kind=${kind}`);
      if (found.status !== "Pending" || Date.now() > until) return found;
      await sleep(pauseMs(attempt, 0));
    }
  }
}
