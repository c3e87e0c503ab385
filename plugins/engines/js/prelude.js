// Runs before a rule's modules: what a rule finds besides the language. `own` has what engine.c gives to this file and to entry.js only.
(function (own) {
  "use strict";
  const { log, encode, decode } = own;

  // What an import throws that answers with a problem.
  const ComponentError = class ComponentError extends Error {
    constructor(payload) {
      super(String(payload));
      this.payload = payload;
    }
    get name() {
      return "ComponentError";
    }
  };
  globalThis.ComponentError = ComponentError;

  // Two edges must answer alike.
  Math.random = function random() {
    throw new TypeError("a rule has no random numbers");
  };

  // What it throws is told as what a promise is rejected with that nothing awaits.
  globalThis.queueMicrotask = function queueMicrotask(callback) {
    if (typeof callback !== "function") {
      throw new TypeError("queueMicrotask: no function");
    }
    Promise.resolve().then(() => callback());
  };

  const shown = (value) => {
    if (typeof value === "string" || value instanceof Error || typeof value !== "object") {
      return String(value);
    }
    try {
      return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner));
    } catch {
      return String(value);
    }
  };
  const say = (level) => (...values) => log(level, values.map(shown).join(" ").toWellFormed());
  globalThis.console = {
    trace: say("trace"),
    debug: say("debug"),
    log: say("info"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
  };

  globalThis.TextEncoder = class TextEncoder {
    encode(text = "") {
      return encode(String(text).toWellFormed());
    }
    get encoding() {
      return "utf-8";
    }
  };
  globalThis.TextDecoder = class TextDecoder {
    #fatal;
    #ignoreBOM;
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      if (!/^utf-?8$/i.test(label)) {
        throw new RangeError(`TextDecoder: ${label} is not utf-8`);
      }
      this.#fatal = Boolean(fatal);
      this.#ignoreBOM = Boolean(ignoreBOM);
    }
    decode(data = new Uint8Array(), { stream = false } = {}) {
      if (stream) {
        throw new TypeError("TextDecoder: there is no `stream`");
      }
      const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
      const text = decode(bytes).toWellFormed();
      // Only of UTF-8 comes the same again.
      const same = this.#fatal ? encode(text) : bytes;
      if (same.length !== bytes.length || !same.every((byte, at) => byte === bytes[at])) {
        throw new TypeError("TextDecoder: the data is not utf-8");
      }
      return !this.#ignoreBOM && text.startsWith("\ufeff") ? text.slice(1) : text;
    }
    get encoding() {
      return "utf-8";
    }
    get fatal() {
      return this.#fatal;
    }
    get ignoreBOM() {
      return this.#ignoreBOM;
    }
  };
  return ComponentError;
})
