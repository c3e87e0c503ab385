// Runs before a rule's modules: what a rule finds besides the language. `own` has what engine.c gives to this file and to entry.js only.
(function (own) {
  "use strict";
  const { log, encode, decode } = own;

  // What an import throws that answers with a problem.
  globalThis.ComponentError = class ComponentError extends Error {
    constructor(payload) {
      super(String(payload));
      this.payload = payload;
    }
    get name() {
      return "ComponentError";
    }
  };

  // Two edges must answer alike.
  Math.random = function random() {
    throw new TypeError("a rule has no random numbers");
  };

  const shown = (value) => {
    if (typeof value === "string" || value instanceof Error || typeof value !== "object") {
      return String(value);
    }
    return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner));
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
    constructor(label = "utf-8") {
      if (!/^utf-?8$/i.test(label)) {
        throw new RangeError(`TextDecoder: ${label} is not utf-8`);
      }
    }
    decode(data = new Uint8Array()) {
      const bytes = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
      return decode(bytes);
    }
    get encoding() {
      return "utf-8";
    }
  };
})
