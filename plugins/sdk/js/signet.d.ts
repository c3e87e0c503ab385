// What a Signet rule in JavaScript or TypeScript is written with: the types of the world signet:rule/rule@1.1.0, and what there is
// beside the language. A rule exports `evaluate`, and imports each interface under the lowest version that has it.
// This file is no module, as what declares modules must not be: write `signet.Request`, without an import.

declare namespace signet {
  /** A claim of a token, an attribute of a caller, or a setting of the plugin. */
  type Value =
    | { tag: "text"; val: string }
    | { tag: "int"; val: bigint }
    | { tag: "float"; val: number }
    | { tag: "boolean"; val: boolean }
    | { tag: "texts"; val: string[] }
    /** Anything else, as JSON text. */
    | { tag: "json"; val: string };

  /** Sorted by name, each name once. */
  type Pairs = [name: string, value: Value][];

  /** Who asks. Every field was verified before the rule is called. */
  interface Caller {
    /** `oidc:ISSUER#SUBJECT`, or a SPIFFE ID. */
    id: string;
    kind: "oidc" | "spiffe";
    /** The `iss` of an OIDC caller, the trust domain of a SPIFFE one. */
    issuer: string;
    subject: string;
    attributes: Pairs;
  }

  /** A token that is about to be minted. Registered claims are never among `claims`. */
  interface Token {
    subject?: string;
    audience: string[];
    /** Seconds, at least 1. */
    lifetime: number;
    claims: Pairs;
  }

  /** An artifact that is about to be signed. */
  interface Artifact {
    /** Whether the caller sent the digest itself, or a message whose SHA-256 it is. */
    form: "digest" | "message";
    algorithm: "sha256" | "sha384" | "sha512";
    digest: Uint8Array;
  }

  interface Request {
    profile: string;
    /** The logical key's id. */
    key: string;
    /** `jwt`, `der` or `fixed`. */
    format: string;
    /** 12 digits. */
    tenant: string;
    caller: Caller;
    payload: { tag: "token"; val: Token } | { tag: "artifact"; val: Artifact };
    /** Seconds since 1970. The only clock there is. */
    time: bigint;
    requestId: string;
    /** 32 hexadecimal digits, when the caller sent one. */
    traceId?: string;
    sourceAddress: string;
    protocol: "http1" | "http2" | "http3";
  }

  /** Go on, but no further than this says. */
  interface Verdict {
    /** Seconds, at least 1. */
    lifetimeCap?: number;
    /** Only names that the profile lists as plugin-writable, and only on tokens. */
    claims: [name: string, value: Value][];
  }

  /** Do not sign. To be thrown; the caller sees both. */
  interface Refusal {
    /** 1 to 64 of a-z, 0-9 and _, stable. */
    code: string;
    /** One line of at most 512 bytes. */
    message: string;
  }

  /**
   * What a rule exports under the name `evaluate`. It throws a `Refusal`.
   *
   * With `world = "signet:rule/rule-batch@1.2.0"` in plugin.toml it is called for up to 16 requests of a batch in one instance, one after
   * the other: what the rule's modules keep is there for the next of them, and for no other call. Nothing else is to be written.
   */
  type Evaluate = (request: Request) => Verdict | Promise<Verdict>;
}

/** What is thrown by an import that answers with a problem. */
declare class ComponentError<Problem = unknown> extends Error {
  constructor(payload: Problem);
  payload: Problem;
}

/** Lines for the rule's log, where `log` is granted. `log` is `info`. */
declare const console: Record<"trace" | "debug" | "log" | "info" | "warn" | "error", (...values: unknown[]) => void>;

/** UTF-8. */
declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
}
declare class TextDecoder {
  constructor(label?: "utf-8", options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(data?: ArrayBuffer | ArrayBufferView): string;
}

/** Base64 of texts whose characters are bytes. */
declare function atob(data: string): string;
declare function btoa(data: string): string;

/** What `callback` throws denies the request. */
declare function queueMicrotask(callback: () => void): void;

declare module "signet:rule/config@1.0.0" {
  /** A setting of the plugin. */
  export function get(name: string): signet.Value | undefined;
}

declare module "signet:rule/log@1.0.0" {
  export type Level = "trace" | "debug" | "info" | "warn" | "error";
  /** One line for the edge's log. */
  export function log(level: Level, message: string): void;
}

declare module "signet:rule/counter@1.1.0" {
  export type Problem = "full" | "out-of-bounds";
  /**
   * Counts one use of `key` (1 to 256 bytes); how many there were within the last `windowSeconds` (1 to 86400), this one
   * included. It stays counted, whatever the rule answers. Throws a `ComponentError<Problem>`: refuse then.
   */
  export function increment(key: string, windowSeconds: number): number;
}

declare module "signet:rule/lookup@1.1.0" {
  export type Problem = "no-such-table" | "wrong-kind" | "not-an-address";
  /** The value of a key in a table of the kind `exact`. Throws a `ComponentError<Problem>`. */
  export function get(table: string, key: string): string | undefined;
  /** The value of the longest prefix that holds an IP address, in a table of the kind `prefix`. Throws likewise. */
  export function prefix(table: string, address: string): string | undefined;
}

declare module "signet:rule/digest@1.1.0" {
  /** SHA-2, by the host. At most 64 KiB a call and 1 MiB a request. */
  export function sha256(data: Uint8Array): Uint8Array;
  export function sha384(data: Uint8Array): Uint8Array;
  export function sha512(data: Uint8Array): Uint8Array;
}
