// What a Signet rule in AssemblyScript is written with: views of the types of the world signet:rule/rule@1.1.0 where they
// lie in memory (Canonical ABI of the component model), and short ways to answer. A rule exports `evaluate` and
// `cabi_realloc`:
//
//     export { cabi_realloc } from "./signet";
//     export function evaluate(at: usize): Answer { return allow(); }
//
// and may judge several requests in one call too, as the world signet:rule/rule-batch@1.2.0 has it:
//
//     export function evaluate_batch(at: usize, length: usize): Answers { return answers(at, length, evaluate); }

@external("signet:rule/config@1.0.0", "get")
declare function configGet(name: usize, length: usize, setting: usize): void;
@external("signet:rule/log@1.0.0", "log")
declare function logLine(level: i32, message: usize, length: usize): void;
@external("signet:rule/counter@1.1.0", "increment")
declare function counterIncrement(key: usize, length: usize, window: u32, counted: usize): void;
@external("signet:rule/lookup@1.1.0", "get")
declare function lookupGet(table: usize, tableLength: usize, key: usize, length: usize, row: usize): void;
@external("signet:rule/lookup@1.1.0", "prefix")
declare function lookupPrefix(table: usize, tableLength: usize, key: usize, length: usize, row: usize): void;
@external("signet:rule/digest@1.1.0", "sha256")
declare function digestSha256(data: usize, length: usize, digest: usize): void;
@external("signet:rule/digest@1.1.0", "sha384")
declare function digestSha384(data: usize, length: usize, digest: usize): void;
@external("signet:rule/digest@1.1.0", "sha512")
declare function digestSha512(data: usize, length: usize, digest: usize): void;

/** Memory for what the host hands over. Nothing is given back: the whole instance goes with the call. */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  const at = (heap.alloc(size + align) + align - 1) & ~(align - 1);
  memory.copy(at, old, oldSize);
  return at;
}

function text(at: usize): string {
  return String.UTF8.decodeUnsafe(load<usize>(at), load<usize>(at, 4));
}

function optionText(at: usize): string | null {
  return load<u8>(at) ? text(at + 4) : null;
}

function texts(at: usize): string[] {
  const first = load<usize>(at);
  const all: string[] = [];
  for (let i: usize = 0; i < load<usize>(at, 4); i++) all.push(text(first + i * 8));
  return all;
}

export enum Kind { Text, Int, Float, Boolean, Texts, Json }

/** A claim's, an attribute's or a setting's. `kind` says which getter holds; JSON is in `text`. */
export class Value {
  constructor(private at: usize) {}
  get kind(): Kind { return load<u8>(this.at); }
  get text(): string { return text(this.at + 8); }
  get int(): i64 { return load<i64>(this.at, 8); }
  get float(): f64 { return load<f64>(this.at, 8); }
  get boolean(): bool { return load<u8>(this.at, 8) != 0; }
  get texts(): string[] { return texts(this.at + 8); }
  /** Whether this is the text, or a list that has it. */
  hasText(wanted: string): bool {
    return this.kind == Kind.Text ? this.text == wanted : this.kind == Kind.Texts && this.texts.includes(wanted);
  }
}

function find(at: usize, name: string): Value | null {
  const first = load<usize>(at);
  for (let i: usize = 0; i < load<usize>(at, 4); i++) {
    if (text(first + i * 24) == name) return new Value(first + i * 24 + 8);
  }
  return null;
}

export class Request {
  constructor(private at: usize) {}
  get profile(): string { return text(this.at); }
  get key(): string { return text(this.at + 8); }
  get format(): string { return text(this.at + 16); }
  get tenant(): string { return text(this.at + 24); }
  get callerId(): string { return text(this.at + 32); }
  get callerKind(): string { return text(this.at + 40); }
  get callerIssuer(): string { return text(this.at + 48); }
  get callerSubject(): string { return text(this.at + 56); }
  /** A verified attribute of the caller. */
  attribute(name: string): Value | null { return find(this.at + 64, name); }
  get isArtifact(): bool { return load<u8>(this.at, 72) != 0; }
  /** Of a token, as are the audience, the lifetime in seconds and the claims. */
  get subject(): string | null { return optionText(this.at + 76); }
  get audience(): string[] { return texts(this.at + 88); }
  get lifetime(): u32 { return load<u32>(this.at, 96); }
  claim(name: string): Value | null { return find(this.at + 100, name); }
  /** Of an artifact, as is where its digest lies and how long it is. */
  get algorithm(): string { return text(this.at + 80); }
  get digestAt(): usize { return load<usize>(this.at, 88); }
  get digestLength(): usize { return load<usize>(this.at, 92); }
  /** Seconds since 1970. */
  get time(): u64 { return load<u64>(this.at, 112); }
  get requestId(): string { return text(this.at + 120); }
  get traceId(): string | null { return optionText(this.at + 128); }
  get sourceAddress(): string { return text(this.at + 140); }
}

function put(at: usize, value: string): void {
  const bytes = String.UTF8.encode(value);
  store<usize>(at, changetype<usize>(bytes));
  store<usize>(at, bytes.byteLength, 4);
}

/** A setting of the plugin. */
export function config(name: string): Value | null {
  const at = heap.alloc(32);
  const bytes = String.UTF8.encode(name);
  configGet(changetype<usize>(bytes), bytes.byteLength, at);
  return load<u8>(at) ? new Value(at + 8) : null;
}

export enum Level { Trace, Debug, Info, Warn, Error }

/** One line for the edge's log. */
export function log(level: Level, message: string): void {
  const bytes = String.UTF8.encode(message);
  logLine(level, changetype<usize>(bytes), bytes.byteLength);
}

/** Of a `Count`. */
export enum CountProblem { None, Full, OutOfBounds }

export class Count {
  constructor(public problem: CountProblem, public uses: u32) {}
}

/**
 * Counts one use of `key` (1 to 256 bytes); how many there were within the last `seconds` (1 to 86400), this one included.
 * It stays counted, whatever the rule answers. Refuse when there is a problem. Needs the grant `counter`.
 */
export function count(key: string, seconds: u32): Count {
  const at = heap.alloc(8);
  const bytes = String.UTF8.encode(key);
  counterIncrement(changetype<usize>(bytes), bytes.byteLength, seconds, at);
  return load<u8>(at) ? new Count(1 + load<u8>(at, 4), 0) : new Count(CountProblem.None, load<u32>(at, 4));
}

/** Of a `Row`. */
export enum LookupProblem { None, NoSuchTable, WrongKind, NotAnAddress }

/** What a table has for a key; null: no such row. */
export class Row {
  constructor(public problem: LookupProblem, public value: string | null) {}
}

function row(at: usize): Row {
  return load<u8>(at) ? new Row(1 + load<u8>(at, 4), null) : new Row(LookupProblem.None, optionText(at + 4));
}

/** The value of a key in a table of exact keys. Needs the grant `lookup`. */
export function lookUp(table: string, key: string): Row {
  const at = heap.alloc(16);
  const name = String.UTF8.encode(table), bytes = String.UTF8.encode(key);
  lookupGet(changetype<usize>(name), name.byteLength, changetype<usize>(bytes), bytes.byteLength, at);
  return row(at);
}

/** The value of the longest prefix that holds an IP address, in a table of prefixes. Needs the grant `lookup`. */
export function lookUpAddress(table: string, address: string): Row {
  const at = heap.alloc(16);
  const name = String.UTF8.encode(table), bytes = String.UTF8.encode(address);
  lookupPrefix(changetype<usize>(name), name.byteLength, changetype<usize>(bytes), bytes.byteLength, at);
  return row(at);
}

function bytesAt(at: usize): Uint8Array {
  const length = load<u32>(at, 4);
  const bytes = new Uint8Array(length);
  memory.copy(bytes.dataStart, load<usize>(at), length);
  return bytes;
}

/** SHA-2, by the host: 32, 48 or 64 bytes. At most 64 KiB a call and 1 MiB a request. Needs the grant `digest`. */
export function sha256(data: Uint8Array): Uint8Array {
  const at = heap.alloc(8);
  digestSha256(data.dataStart, data.length, at);
  return bytesAt(at);
}

export function sha384(data: Uint8Array): Uint8Array {
  const at = heap.alloc(8);
  digestSha384(data.dataStart, data.length, at);
  return bytesAt(at);
}

export function sha512(data: Uint8Array): Uint8Array {
  const at = heap.alloc(8);
  digestSha512(data.dataStart, data.length, at);
  return bytesAt(at);
}

/** Where an answer lies. A type of its own: what lies at a number such as 0 would be taken for a verdict that allows. */
@unmanaged export class Answer {}

/** Goes on; with a cap for at most so many seconds, 1 to 4294967295. Any other is no answer: the call traps. */
export function allow(lifetimeCap: i64 = i64.MIN_VALUE): Answer {
  const at = heap.alloc(24);
  memory.fill(at, 0, 24);
  if (lifetimeCap != i64.MIN_VALUE) {
    if (lifetimeCap < 1 || lifetimeCap > i64(u32.MAX_VALUE)) unreachable();
    store<u8>(at, 1, 4);
    store<u32>(at, <u32>lifetimeCap, 8);
  }
  return changetype<Answer>(at);
}

/** `code`: 1 to 64 of a-z, 0-9 and _, stable. `message`: one line of at most 512 bytes. The caller sees both. */
export function refuse(code: string, message: string): Answer {
  const at = heap.alloc(24);
  store<u8>(at, 1);
  put(at + 4, code);
  put(at + 12, message);
  return changetype<Answer>(at);
}

/** For a rule whose settings are unusable: says why in the edge's log, and refuses. A guard that guesses is none. */
export function misconfigured(problem: string): Answer {
  log(Level.Error, problem);
  return refuse("rule_misconfigured", "the rule's settings are wrong; tell the operator");
}

/** Where the answers of a batch lie: as many as there are requests, each to the one in its place. */
@unmanaged export class Answers {}

/** In bytes, from one to the next in a list. */
const REQUEST: usize = 152;
const ANSWER: usize = 20;

/** The answers to `length` requests, each by `evaluate`. */
export function answers(at: usize, length: usize, evaluate: (at: usize) => Answer): Answers {
  const list = heap.alloc(8);
  const each = heap.alloc(length * ANSWER);
  for (let i: usize = 0; i < length; i++) {
    memory.copy(each + i * ANSWER, changetype<usize>(evaluate(at + i * REQUEST)), ANSWER);
  }
  store<usize>(list, each);
  store<usize>(list, length, 4);
  return changetype<Answers>(list);
}
