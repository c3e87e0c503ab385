//! What a Signet rule in Zig is written with: the types of the world signet:rule/rule@1.0.0 as they lie in memory
//! (Canonical ABI of the component model), short ways to answer, and an allocator for guests that live for one call.
//! A rule imports it and exports `evaluate`:
//!
//!     export fn evaluate(request: *const signet.Request) *const signet.Answer

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

comptime {
    // As the Canonical ABI has them.
    if (@sizeOf(Pair) != 24 or @offsetOf(Request, "is_artifact") != 72 or @offsetOf(Request, "time") != 112) unreachable;
    if (@sizeOf(Request) != 152 or @sizeOf(Answer) != 20) unreachable;
}

pub const Level = enum(i32) { trace, debug, info, warn, err };

const imports = struct {
    extern "signet:rule/config@1.0.0" fn get(name: [*]const u8, length: usize, setting: *Setting) void;
    extern "signet:rule/log@1.0.0" fn log(level: i32, message: [*]const u8, length: usize) void;
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
