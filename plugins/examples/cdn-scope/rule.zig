//! Keeps CDN tokens to the audiences and paths that were agreed on, each subject to its own part of them.
const signet = @import("signet.zig");
const Text = signet.Text;

const Settings = struct {
    audiences: signet.List(Text),
    /// Exact, or with everything below if it ends in `/`; a segment may be `{subject}`.
    paths: signet.List(Text),
    /// The claim that says what the token opens.
    claim: []const u8,
};

const own_segment = "{subject}";

export fn evaluate(request: *const signet.Request) *const signet.Answer {
    const settings = read() orelse return signet.misconfigured("`audiences` and `paths` must be lists of texts, none " ++
        "of them empty; a path is /A/B or /A/, with {subject} as a whole segment at most; `claim` is a claim's name");
    if (request.is_artifact) return signet.refuse("tokens_only", "this rule judges tokens, and this is an artifact");
    const token = &request.payload.token;
    if (token.audience.length == 0) return signet.refuse("audience_missing", "a CDN token names its audience");
    for (token.audience.slice()) |audience| {
        if (!has(settings.audiences, audience.slice()))
            return signet.refuse("audience_not_allowed", "tokens are not made for this audience");
    }
    const claim = signet.find(token.claims, settings.claim) orelse
        return signet.refuse("path_missing", "a CDN token says which paths it opens");
    const subject: []const u8 = if (token.subject.is_some) token.subject.text.slice() else "";
    return switch (claim.kind) {
        .text => judge(&settings, subject, &.{claim.as.text}),
        .texts => judge(&settings, subject, claim.as.texts.slice()),
        else => signet.refuse("path_malformed", "paths are a text or a list of texts"),
    };
}

fn judge(settings: *const Settings, subject: []const u8, asked: []const Text) *const signet.Answer {
    if (asked.len == 0) return signet.refuse("path_missing", "a CDN token says which paths it opens");
    for (asked) |text| {
        const path = scope(text.slice()) orelse
            return signet.refuse("path_malformed", "a path is plain: /A/B, /A/ or /A/*, without dots, escapes or a query");
        for (settings.paths.slice()) |entry| {
            if (covers(entry.slice(), path, subject)) break;
        } else return signet.refuse("path_not_allowed", "tokens are not made for this path");
    }
    return signet.allow(null);
}

fn read() ?Settings {
    const audiences = texts("audiences") orelse return null;
    const paths = texts("paths") orelse return null;
    for (audiences.slice()) |audience| if (audience.length == 0) return null;
    for (paths.slice()) |path| if (!isPlain(path.slice(), true)) return null;
    var settings: Settings = .{ .audiences = audiences, .paths = paths, .claim = "path" };
    if (signet.config("claim")) |claim| {
        if (claim.kind != .text or claim.as.text.length == 0) return null;
        settings.claim = claim.as.text.slice();
    }
    return settings;
}

fn texts(name: []const u8) ?signet.List(Text) {
    const value = signet.config(name) orelse return null;
    return if (value.kind == .texts and value.as.texts.length > 0) value.as.texts else null;
}

fn has(list: signet.List(Text), wanted: []const u8) bool {
    for (list.slice()) |entry| if (entry.is(wanted)) return true;
    return false;
}

/// A path that every CDN reads the same way: what one would decode, resolve or cut off could open something else there.
/// An entry of the settings may have the subject's own segment.
fn isPlain(path: []const u8, is_entry: bool) bool {
    if (path.len == 0 or path[0] != '/') return false;
    var segments = Segments{ .rest = path[1..] };
    while (segments.next()) |segment| {
        // Only the last may be empty: `/A/`.
        if (segment.len == 0 and segments.rest != null) return false;
        if (is_entry and same(segment, own_segment)) continue;
        if (same(segment, ".") or same(segment, "..")) return false;
        for (segment) |c| if (!isPlainByte(c)) return false;
    }
    return true;
}

/// RFC 3986's unreserved ones, and of the others those that no server gives a meaning within a path.
fn isPlainByte(c: u8) bool {
    return switch (c) {
        'a'...'z', 'A'...'Z', '0'...'9', '-', '.', '_', '~', '@', '+', ',', '=', ':' => true,
        else => false,
    };
}

/// What a claim asks for, with `/A/*` as `/A/`: everything below.
fn scope(path: []const u8) ?[]const u8 {
    const all_below = path.len >= 2 and path[path.len - 1] == '*' and path[path.len - 2] == '/';
    const plain = if (all_below) path[0 .. path.len - 1] else path;
    return if (isPlain(plain, false)) plain else null;
}

/// Whether an entry of the settings covers a plain path, segment by segment.
fn covers(entry: []const u8, path: []const u8, subject: []const u8) bool {
    var wanted = Segments{ .rest = entry[1..] };
    var asked = Segments{ .rest = path[1..] };
    while (wanted.next()) |want| {
        const have = asked.next() orelse return false;
        // The end of `/A/` covers what is below, and `/A/` itself.
        if (want.len == 0 and wanted.rest == null) return true;
        const right = if (same(want, own_segment)) subject.len > 0 and same(have, subject) else same(have, want);
        if (!right) return false;
    }
    return asked.rest == null;
}

const Segments = struct {
    /// What follows the last `/`; null behind the last segment.
    rest: ?[]const u8,

    fn next(self: *Segments) ?[]const u8 {
        const rest = self.rest orelse return null;
        for (rest, 0..) |c, at| {
            if (c == '/') {
                self.rest = rest[at + 1 ..];
                return rest[0..at];
            }
        }
        self.rest = null;
        return rest;
    }
};

fn same(a: []const u8, b: []const u8) bool {
    return Text.of(a).is(b);
}
