//! Caps each token's lifetime at the setting `max_seconds`, and wants a subject in it.
const signet = @import("signet.zig");

export fn evaluate(request: *const signet.Request) *const signet.Answer {
    const max = maxSeconds() orelse
        return signet.misconfigured("`max_seconds` must be a whole number of seconds, at least 1");
    if (request.is_artifact) return signet.refuse("tokens_only", "this rule judges tokens, and this is an artifact");
    if (!request.payload.token.subject.is_some) return signet.refuse("subject_missing", "a token needs a subject");
    return signet.allow(max);
}

fn maxSeconds() ?u32 {
    const value = signet.config("max_seconds") orelse return null;
    if (value.kind != .int or value.as.int < 1 or value.as.int > 0xffff_ffff) return null;
    return @intCast(value.as.int);
}
