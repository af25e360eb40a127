// The page of a terminal: opens the session, shows what the link brings, and sends what is typed.

import { FitAddon } from "./addon-fit.mjs";
import { Link, refusal } from "./link.js";
import { answerOnlyWhen } from "./questions.js";
import { Terminal } from "./xterm.mjs";

const SCROLLBACK_LINES = 10_000;
const THEME = { background: "#14161a", foreground: "#d6d9df", cursor: "#d6d9df", selectionBackground: "#3d4657" };
const FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace";

const element = (id) => document.getElementById(id);
const encoder = new TextEncoder();

/** The line at the bottom and the banner at the top. */
const status = {
  state(name, text) {
    element("state").dataset.state = name;
    element("state").textContent = text;
  },
  banner(kind, text) {
    element("banner").dataset.kind = kind;
    element("banner").textContent = text;
    element("banner").hidden = !text;
  },
  session({ sandbox_id, command }) {
    element("sandbox").textContent = sandbox_id;
    element("command").textContent = command;
    document.title = `${command} – ${sandbox_id}`;
  },
  size(rows, columns) {
    element("size").textContent = `${columns}×${rows}`;
  },
};

/** The policy of this page wants a nonce on style sheets; xterm.js makes some and knows none. */
function putNonceOnStyles() {
  const create = document.createElement.bind(document);
  const { nonce } = element("style");
  document.createElement = (name, options) => {
    const made = create(name, options);
    if (made instanceof HTMLStyleElement) made.nonce = nonce;
    return made;
  };
}

/** The session that the link or the cookie opens; throws an Error that says why not. */
async function openSession(path) {
  const ticket = location.hash.slice(1);
  if (ticket) {
    // Before anything else: an address bar is seen by others, and a reload would show it again.
    history.replaceState(null, "", location.pathname);
    const body = JSON.stringify({ ticket });
    const exchanged = await fetch(`${path}/session`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    if (exchanged.ok) return exchanged.json();
  }
  // Also after a ticket that was used: in this browser, perhaps.
  const answer = await fetch(`${path}/session`);
  if (!answer.ok) throw new Error(await refusal(answer));
  return answer.json();
}

function copySelection(terminal) {
  if (terminal.hasSelection()) navigator.clipboard?.writeText(terminal.getSelection());
}

function newTerminal() {
  const terminal = new Terminal({ scrollback: SCROLLBACK_LINES, fontFamily: FONTS, fontSize: 14, theme: THEME, cursorBlink: true });
  terminal.attachCustomKeyEventHandler((event) => {
    // Ctrl-C and Ctrl-V are the program's; with Shift they are the browser's, which can paste but not copy what xterm.js has selected.
    if (!event.ctrlKey || !event.shiftKey || event.altKey) return true;
    if (event.code === "KeyC" && event.type === "keydown") {
      event.preventDefault();
      copySelection(terminal);
    }
    return event.code !== "KeyC" && event.code !== "KeyV";
  });
  return terminal;
}

/** Where the link's news go; see Link. */
class Page {
  constructor(terminal) {
    this.terminal = terminal;
    this.expected = 0; // offset of the next byte of output
    this.old = 0; // output before it was there when the page was loaded
    this.written = 0;
    this.isLeader = false;
    this.wasConnected = false;
    answerOnlyWhen(terminal, () => this.isLeader && this.written >= this.old);
  }

  connecting() {
    status.state("connecting", "connecting");
    if (this.wasConnected) status.banner("waiting", "The connection is lost. Reconnecting …");
  }

  connected(total, again) {
    if (!again) this.old = total;
    this.wasConnected = true;
    status.state("connected", "connected");
    status.banner("", "");
  }

  output(offset, bytes, seen) {
    if (offset > this.expected) this.terminal.write(`\r\n\x1b[0;7m ${offset - this.expected} bytes of output were not kept \x1b[0m\r\n`);
    this.expected = offset + bytes.length;
    // Apart, so that it is known of each question whether it is old.
    const old = Math.min(Math.max(this.old - offset, 0), bytes.length);
    if (old) this.terminal.write(bytes.subarray(0, old), () => (this.written = offset + old));
    this.terminal.write(bytes.subarray(old), () => {
      this.written = offset + bytes.length;
      seen();
    });
  }

  leads(leads) {
    this.isLeader = leads;
  }

  ended(kind, text) {
    this.terminal.options.disableStdin = true;
    this.terminal.options.cursorBlink = false;
    status.state("ended", "ended");
    status.banner(kind, text);
  }
}

function start(path) {
  const terminal = newTerminal();
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(element("screen"));
  const link = new Link(path, new Page(terminal));

  terminal.onData((text) => link.type(encoder.encode(text)));
  terminal.onBinary((text) => link.type(Uint8Array.from(text, (character) => character.charCodeAt(0))));
  terminal.onTitleChange((title) => (document.title = title));
  const tellSize = () => {
    status.size(terminal.rows, terminal.cols);
    link.resize(terminal.rows, terminal.cols);
  };
  terminal.onResize(tellSize);
  new ResizeObserver(() => fit.fit()).observe(element("screen"));
  addEventListener("focus", tellSize);

  fit.fit();
  tellSize();
  terminal.focus();
  link.connect();
}

putNonceOnStyles();
try {
  status.session(await openSession(location.pathname));
  start(location.pathname);
} catch (error) {
  status.state("ended", "ended");
  status.banner("failed", error.message);
}
