//! What a Signet rule in Zig is written with: the types of the world signet:rule/rule@1.1.0 as they lie in memory
//! (Canonical ABI of the component model), short ways to answer, and an allocator for guests that live for one call.
//! A rule imports it and exports `evaluate`:
//!
//!     export fn evaluate(request: *const signet.Request) *const signet.Answer
//!
//! and may judge several requests in one call too: `exportBatch`.

pub const Text = extern struct {
    at: [*]const u8,
    length: usize,

    pub fn of(text: []const u8) Text {
        return .{ .at = text.ptr, .length = text.len };
    }
    pub fn slice(self: Text) []const u8 {
        return self.at[0..self.length];
    }
    pub fn is(self: Text, other: []const u8) bool {
        if (self.length != other.len) return false;
        for (self.slice(), other) |a, b| if (a != b) return false;
        return true;
    }
};

pub fn List(comptime Item: type) type {
    return extern struct {
        at: [*]const Item,
        length: usize,

        pub fn slice(self: @This()) []const Item {
            return self.at[0..self.length];
        }
    };
}

pub const OptionText = extern struct { is_some: bool, text: Text };

pub const Kind = enum(u8) { text, int, float, boolean, texts, json };

/// A claim's, an attribute's or a setting's. `kind` says which member holds; JSON is in `text`.
pub const Value = extern struct {
    kind: Kind,
    as: extern union { text: Text, int: i64, float: f64, boolean: bool, texts: List(Text) },
};

pub const Pair = extern struct { name: Text, value: Value };

/// A claim's or an attribute's value.
pub fn find(pairs: List(Pair), name: []const u8) ?*const Value {
    for (pairs.slice()) |*pair| if (pair.name.is(name)) return &pair.value;
    return null;
}

pub const Caller = extern struct {
    id: Text,
    kind: Text,
    issuer: Text,
    subject: Text,
    attributes: List(Pair),
};

/// `lifetime` is in seconds.
pub const Token = extern struct { subject: OptionText, audience: List(Text), lifetime: u32, claims: List(Pair) };

pub const Artifact = extern struct { is_message: bool, algorithm: Text, digest: List(u8) };

pub const Request = extern struct {
    profile: Text,
    key: Text,
    format: Text,
    tenant: Text,
    caller: Caller,
    /// Which member of `payload` holds.
    is_artifact: bool,
    payload: extern union { token: Token, artifact: Artifact },
    /// Seconds since 1970.
    time: u64,
    request_id: Text,
    trace_id: OptionText,
    source_address: Text,
    protocol: enum(u8) { http1, http2, http3 },
};

pub const Answer = extern struct {
    is_refusal: bool,
    as: extern union {
        verdict: extern struct { caps: bool, lifetime_cap: u32, claims: List(Pair) },
        refusal: extern struct { code: Text, message: Text },
    },
};

const Setting = extern struct { is_some: bool, value: Value };
const Counted = extern struct { is_error: bool, as: extern union { uses: u32, problem: u8 } };
const Row = extern struct { is_error: bool, as: extern union { value: OptionText, problem: u8 } };

comptime {
    // As the Canonical ABI has them.
    if (@sizeOf(Pair) != 24 or @offsetOf(Request, "is_artifact") != 72 or @offsetOf(Request, "time") != 112) unreachable;
    if (@sizeOf(Request) != 152 or @sizeOf(Answer) != 20) unreachable;
    if (@sizeOf(Counted) != 8 or @sizeOf(Row) != 16) unreachable;
}

pub const Level = enum(i32) { trace, debug, info, warn, err };

const imports = struct {
    extern "signet:rule/config@1.0.0" fn get(name: [*]const u8, length: usize, setting: *Setting) void;
    extern "signet:rule/log@1.0.0" fn log(level: i32, message: [*]const u8, length: usize) void;
    extern "signet:rule/counter@1.1.0" fn increment(key: [*]const u8, length: usize, window: u32, counted: *Counted) void;
    extern "signet:rule/digest@1.1.0" fn sha256(data: [*]const u8, length: usize, digest: *List(u8)) void;
    extern "signet:rule/digest@1.1.0" fn sha384(data: [*]const u8, length: usize, digest: *List(u8)) void;
    extern "signet:rule/digest@1.1.0" fn sha512(data: [*]const u8, length: usize, digest: *List(u8)) void;
};

/// Apart, since `get` is the name of another import too.
const tables = struct {
    extern "signet:rule/lookup@1.1.0" fn get(table: [*]const u8, table_length: usize, key: [*]const u8, length: usize, row: *Row) void;
    extern "signet:rule/lookup@1.1.0" fn prefix(table: [*]const u8, table_length: usize, address: [*]const u8, length: usize, row: *Row) void;
};

/// A setting of the plugin.
pub fn config(name: []const u8) ?Value {
    var setting: Setting = undefined;
    imports.get(name.ptr, name.len, &setting);
    return if (setting.is_some) setting.value else null;
}

/// One line for the edge's log.
pub fn log(level: Level, message: []const u8) void {
    imports.log(@intFromEnum(level), message.ptr, message.len);
}

/// Counts one use of `key` (1 to 256 bytes); how many there were within the last `seconds` (1 to 86400), this one included.
/// It stays counted, whatever the rule answers. Refuse on `Full`. Needs the grant `counter`.
pub fn count(key: []const u8, seconds: u32) error{ Full, OutOfBounds }!u32 {
    var counted: Counted = undefined;
    imports.increment(key.ptr, key.len, seconds, &counted);
    if (!counted.is_error) return counted.as.uses;
    return if (counted.as.problem == 0) error.Full else error.OutOfBounds;
}

pub const LookupError = error{ NoSuchTable, WrongKind, NotAnAddress };

/// The value of a key in a table of exact keys. Needs the grant `lookup`.
pub fn lookUp(table: []const u8, key: []const u8) LookupError!?[]const u8 {
    var row: Row = undefined;
    tables.get(table.ptr, table.len, key.ptr, key.len, &row);
    return found(row);
}

/// The value of the longest prefix that holds an IP address, in a table of prefixes. Needs the grant `lookup`.
pub fn lookUpAddress(table: []const u8, address: []const u8) LookupError!?[]const u8 {
    var row: Row = undefined;
    tables.prefix(table.ptr, table.len, address.ptr, address.len, &row);
    return found(row);
}

fn found(row: Row) LookupError!?[]const u8 {
    if (!row.is_error) return if (row.as.value.is_some) row.as.value.text.slice() else null;
    return switch (row.as.problem) {
        0 => error.NoSuchTable,
        1 => error.WrongKind,
        else => error.NotAnAddress,
    };
}

/// SHA-2, by the host: 32, 48 or 64 bytes. At most 64 KiB a call and 1 MiB a request. Needs the grant `digest`.
pub fn sha256(data: []const u8) []const u8 {
    var digest: List(u8) = undefined;
    imports.sha256(data.ptr, data.len, &digest);
    return digest.slice();
}

pub fn sha384(data: []const u8) []const u8 {
    var digest: List(u8) = undefined;
    imports.sha384(data.ptr, data.len, &digest);
    return digest.slice();
}

pub fn sha512(data: []const u8) []const u8 {
    var digest: List(u8) = undefined;
    imports.sha512(data.ptr, data.len, &digest);
    return digest.slice();
}

extern const __heap_base: u8;
var next: usize = 0;

/// Memory that is handed out upwards and never taken back: the whole instance goes with the call.
fn allocate(size: usize, alignment: usize) usize {
    if (next == 0) next = @intFromPtr(&__heap_base);
    const at = (next + alignment - 1) & ~(alignment - 1);
    const end = at + size;
    const have = @wasmMemorySize(0) << 16;
    if (end > have and @wasmMemoryGrow(0, (end - have + 65535) >> 16) < 0) @trap();
    next = end;
    return at;
}

export fn cabi_realloc(old: [*]const u8, old_size: usize, alignment: usize, size: usize) [*]u8 {
    const block: [*]u8 = @ptrFromInt(allocate(size, alignment));
    for (0..old_size) |at| block[at] = old[at];
    return block;
}

var answer: Answer = undefined;

/// Goes on; with a cap, for at most so many seconds, at least 1.
pub fn allow(lifetime_cap: ?u32) *const Answer {
    const none: List(Pair) = .{ .at = @ptrFromInt(8), .length = 0 };
    answer = .{ .is_refusal = false, .as = .{ .verdict = .{
        .caps = lifetime_cap != null,
        .lifetime_cap = lifetime_cap orelse 0,
        .claims = none,
    } } };
    return &answer;
}

/// `code`: 1 to 64 of a-z, 0-9 and _, stable. `message`: one line of at most 512 bytes. The caller sees both.
pub fn refuse(code: []const u8, message: []const u8) *const Answer {
    answer = .{ .is_refusal = true, .as = .{ .refusal = .{ .code = Text.of(code), .message = Text.of(message) } } };
    return &answer;
}

/// For a rule whose settings are unusable: says why in the edge's log, and refuses. A guard that guesses is none.
pub fn misconfigured(problem: []const u8) *const Answer {
    log(.err, problem);
    return refuse("rule_misconfigured", "the rule's settings are wrong; tell the operator");
}

var answers: List(Answer) = undefined;

/// Exports `evaluate-batch`, as the world signet:rule/rule-batch@1.2.0 has it: `evaluate` for each of several requests of one
/// caller, in one instance. Each answer is copied before the next request is judged, and what it points to is not: claims and
/// texts of an answer lie in memory of their own.
///
///     comptime {
///         signet.exportBatch(evaluate);
///     }
pub fn exportBatch(comptime evaluate: fn (*const Request) callconv(.c) *const Answer) void {
    const all = struct {
        fn evaluateBatch(requests: [*]const Request, length: usize) callconv(.c) *const List(Answer) {
            const each: [*]Answer = @ptrFromInt(allocate(length * @sizeOf(Answer), @alignOf(Answer)));
            for (0..length) |at| each[at] = evaluate(&requests[at]).*;
            answers = .{ .at = each, .length = length };
            return &answers;
        }
    };
    @export(&all.evaluateBatch, .{ .name = "evaluate-batch" });
}
