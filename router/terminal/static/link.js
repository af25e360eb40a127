// The page's end of the WebSocket. What is said, and why no key comes twice, is in router/terminal/messages.py.

const KEYS_BYTES = 32 * 1024;
const TYPED_WINDOW_BYTES = 256 * 1024;
const SEEN_EVERY_BYTES = 64 * 1024;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;
const STABLE_MS = 5000;

const VIOLATION = 1008;
const FINAL_FROM = 4000;

/** Keys that the router may not have taken yet, by the count of all that were typed in this page. */
class Typed {
  constructor() {
    this.taken = 0;
    this.sent = 0;
    this.end = 0;
    this.pieces = []; // from `taken` on
  }

  add(bytes) {
    for (let at = 0; at < bytes.length; at += KEYS_BYTES) {
      this.pieces.push({ offset: this.end + at, bytes: bytes.subarray(at, at + KEYS_BYTES) });
    }
    this.end += bytes.length;
  }

  /** The router has all before `taken`. */
  advance(taken) {
    this.taken = taken;
    this.sent = Math.max(this.sent, taken);
    while (this.pieces.length && this.pieces[0].offset + this.pieces[0].bytes.length <= taken) this.pieces.shift();
  }

  /** Pieces that may be sent now. */
  *unsent() {
    for (const piece of this.pieces) {
      const end = piece.offset + piece.bytes.length;
      if (end <= this.sent) continue;
      if (end - this.taken > TYPED_WINDOW_BYTES) return;
      this.sent = end;
      yield piece;
    }
  }
}

/**
 * A connection that comes back. `page` is told: connecting(), connected(total, again), output(offset, bytes, seen), leads(leads),
 * ended(kind, text). After ended() it does not come back.
 */
export class Link {
  constructor(path, page) {
    this.page = page;
    this.path = path;
    this.id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.typed = new Typed();
    this.stdin = null;
    this.offset = 0; // of the next byte of output
    this.shown = 0; // output before is on the screen
    this.told = 0; // and the router knows it up to here
    this.size = { rows: 24, columns: 80 };
    this.socket = null;
    this.attached = false;
    this.wasAttached = false;
    this.pauseMs = FIRST_PAUSE_MS;
    this.timer = 0;
    this.isOver = false;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => this.hurry());
  }

  connect() {
    this.timer = 0;
    this.page.connecting();
    const address = new URL(`${this.path}/socket`, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.attach();
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.hear(JSON.parse(data)) : this.take(data));
    socket.onclose = ({ code, reason }) => this.closed(code, reason);
  }

  /** Keys of the user, or answers of the terminal. */
  type(bytes) {
    this.typed.add(bytes);
    this.flush();
  }

  /** The window has this size now, or was clicked into. */
  resize(rows, columns) {
    this.size = { rows, columns };
    if (this.attached) this.say({ type: "resize", ...this.size });
  }

  attach() {
    const { taken, sent } = this.typed;
    this.say({ type: "attach", page: this.id, offset: this.offset, ...this.size, taken, pending: sent - taken, stdin: this.stdin });
    this.told = this.offset;
  }

  hear(message) {
    switch (message.type) {
      case "attached":
        this.attached = true;
        this.stdin = message.stdin;
        this.typed.advance(message.taken);
        this.typed.sent = message.taken;
        this.stable = setTimeout(() => (this.pauseMs = FIRST_PAUSE_MS), STABLE_MS);
        this.page.connected(message.total, this.wasAttached);
        this.wasAttached = true;
        this.flush();
        break;
      case "typed":
        this.stdin = message.stdin;
        this.typed.advance(message.taken);
        this.flush();
        break;
      case "leads":
        this.page.leads(message.leads);
        break;
      case "exited":
        this.end("over", `The command has ended with exit code ${message.exit_code}. ${message.text}`);
        break;
      case "failed":
        this.end("failed", `${message.cause} ${message.remedy}`);
        break;
    }
  }

  take(data) {
    const offset = Number(new DataView(data).getBigUint64(0));
    const bytes = new Uint8Array(data, 8);
    const end = offset + bytes.length;
    this.offset = end;
    this.page.output(offset, bytes, () => this.seen(end));
  }

  seen(end) {
    this.shown = end;
    if (this.attached && end - this.told >= SEEN_EVERY_BYTES) {
      this.told = end;
      this.say({ type: "seen", offset: end });
    }
  }

  flush() {
    if (!this.attached) return;
    for (const { offset, bytes } of this.typed.unsent()) {
      const message = new Uint8Array(8 + bytes.length);
      new DataView(message.buffer).setBigUint64(0, BigInt(offset));
      message.set(bytes, 8);
      this.socket.send(message);
    }
  }

  say(message) {
    this.socket.send(JSON.stringify(message));
  }

  closed(code, reason) {
    this.attached = false;
    clearTimeout(this.stable);
    if (this.isOver) return;
    if (code >= FINAL_FROM || code === VIOLATION) {
      this.end("failed", reason || "The server has ended the session.");
      return;
    }
    this.page.connecting();
    this.timer = setTimeout(() => this.again(), this.pauseMs * (0.75 + Math.random() / 2));
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
  }

  /** Now rather than later, if it is waiting: the network is back, or somebody looks. */
  hurry() {
    if (!this.timer) return;
    clearTimeout(this.timer);
    this.again();
  }

  /** A refused WebSocket does not tell why; the session does. */
  async again() {
    this.timer = 0;
    try {
      const answer = await fetch(`${this.path}/session`);
      if (answer.status === 401) this.end("failed", await refusal(answer));
    } catch {
      // No network, or no server: what connect() finds as well.
    }
    if (!this.isOver) this.connect();
  }

  end(kind, text) {
    this.isOver = true;
    this.page.ended(kind, text.trim());
  }
}

/** What a JSON error says. */
export async function refusal(answer) {
  try {
    const { cause, remedy } = await answer.json();
    return `${cause} ${remedy}`.trim();
  } catch {
    return `The server answered with status ${answer.status}.`;
  }
}
