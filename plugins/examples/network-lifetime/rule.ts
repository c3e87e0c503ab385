// Tokens asked for from outside the named networks live for a short time only, or are refused.
import { Answer, Kind, Request, allow, config, misconfigured, refuse } from "./signet";

export { cabi_realloc } from "./signet";

export function evaluate(at: usize): Answer {
  const inside = config("inside");
  const max = config("outside_max_seconds");
  if (max == null || max.kind != Kind.Int || max.int < 0 || max.int > i64(u32.MAX_VALUE)) {
    return misconfigured("`outside_max_seconds` must be a whole number of seconds; 0 refuses");
  }
  if (inside == null || inside.kind != Kind.Texts || inside.texts.length == 0) {
    return misconfigured("`inside` must be a list of networks, with at least one");
  }
  const networks = inside.texts;
  const request = new Request(at);
  const address = Address.parse(request.sourceAddress);
  let isInside = false;
  for (let i = 0; i < networks.length; i++) {
    const network = Network.parse(networks[i]);
    if (network == null) return misconfigured("`inside` has an entry that is no network such as 10.0.0.0/8 or 2001:db8::/32");
    if (address != null && network.holds(address)) isInside = true;
  }
  if (request.isArtifact) return refuse("tokens_only", "this rule judges tokens, and this is an artifact");
  if (isInside) return allow();
  if (max.int == 0) return refuse("network_not_allowed", "tokens are not made for this network");
  return allow(max.int);
}

/** An IP address. What is IPv4 within IPv6 (::ffff:a.b.c.d, RFC 4291) is IPv4: a dual-stack socket shows it so. */
class Address {
  constructor(public high: u64, public low: u64) {}

  get isV4(): bool { return this.high == 0 && this.low >> 32 == 0xffff; }

  static parse(text: string): Address | null {
    if (!text.includes(":")) {
      const v4 = parseV4(text);
      return v4 < 0 ? null : new Address(0, 0xffff00000000 | <u64>v4);
    }
    const halves = text.split("::");
    const first = groups(halves[0]);
    if (first == null || halves.length > 2) return null;
    let all = first;
    if (halves.length == 2) {
      const last = groups(halves[1]);
      // `::` stands for at least one group of zeros.
      if (last == null || first.length + last.length > 7) return null;
      all = first.concat(new Array<u64>(8 - first.length - last.length).fill(0)).concat(last);
    }
    if (all.length != 8) return null;
    let high: u64 = 0, low: u64 = 0;
    for (let i = 0; i < 4; i++) {
      high = (high << 16) | all[i];
      low = (low << 16) | all[i + 4];
    }
    return new Address(high, low);
  }
}

/** An address and how many of its first bits hold, of 128. */
class Network {
  constructor(private address: Address, private bits: i32) {}

  static parse(text: string): Network | null {
    const slash = text.indexOf("/");
    const address = Address.parse(slash < 0 ? text : text.substring(0, slash));
    if (address == null) return null;
    const isShort = !text.includes(":");
    let bits = slash < 0 ? 128 : number(text.substring(slash + 1), 10, 3);
    if (slash >= 0 && isShort && bits >= 0) bits = bits > 32 ? -1 : bits + 96;
    if (bits < 0 || bits > 128) return null;
    // What holds all of IPv4 and more is no network of IPv4's.
    if (address.isV4 && bits < 96) return null;
    const network = new Network(address, bits);
    return network.isClean() ? network : null;
  }

  /** Whether no bit is set behind the prefix: such an entry is most likely a mistake. */
  private isClean(): bool {
    return (this.address.high & ~mask(this.bits)) == 0 && (this.address.low & ~mask(this.bits - 64)) == 0;
  }

  holds(other: Address): bool {
    if (other.isV4 != this.address.isV4) return false;
    return (other.high & mask(this.bits)) == this.address.high && (other.low & mask(this.bits - 64)) == this.address.low;
  }
}

/** So many ones from the left, of 64. */
function mask(bits: i32): u64 {
  if (bits <= 0) return 0;
  return bits >= 64 ? u64.MAX_VALUE : u64.MAX_VALUE << (64 - bits);
}

/** 1 to `most` digits; below zero if it is no such number. */
function number(text: string, radix: i32, most: i32): i32 {
  if (text.length < 1 || text.length > most) return -1;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    const digit = c >= 48 && c <= 57 ? c - 48 : (c | 32) >= 97 && (c | 32) <= 102 ? (c | 32) - 87 : 99;
    if (digit >= radix) return -1;
    value = value * radix + digit;
  }
  return value;
}

/** Below zero if it is none. A zero before other digits is read as octal by some, so it is not read here. */
function parseV4(text: string): i64 {
  const parts = text.split(".");
  if (parts.length != 4) return -1;
  let address: i64 = 0;
  for (let i = 0; i < 4; i++) {
    const byte = number(parts[i], 10, 3);
    if (byte < 0 || byte > 255 || (parts[i].length > 1 && parts[i].charCodeAt(0) == 48)) return -1;
    address = (address << 8) | byte;
  }
  return address;
}

/** Groups of 16 bits on one side of `::`; the last may be an IPv4 address. */
function groups(text: string): u64[] | null {
  const all: u64[] = [];
  if (text.length == 0) return all;
  const parts = text.split(":");
  for (let i = 0; i < parts.length; i++) {
    if (i == parts.length - 1 && parts[i].includes(".")) {
      const v4 = parseV4(parts[i]);
      if (v4 < 0) return null;
      all.push(<u64>v4 >> 16);
      all.push(<u64>v4 & 0xffff);
      continue;
    }
    const group = number(parts[i], 16, 4);
    if (group < 0) return null;
    all.push(<u64>group);
  }
  return all;
}
