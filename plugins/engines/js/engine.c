// What a rule in JavaScript is built into: QuickJS, and what stands between it and the world signet:rule. `signet plugin build` runs
// `prepare` once, which loads the rule's modules, keeps the memory as it is then, and takes away what of the imports only a build has,
// or the rule is not granted, and `evaluate-batch` where the rule's world has none. Each call begins there.
//
// A value arrives as plugins/sdk/js/signet.d.ts says: a 64-bit integer is a BigInt, what is absent is `undefined`.

#include <quickjs.h>
#include <stdlib.h>
#include <string.h>

#define SIGNET_DECLARATIONS_ONLY
#include <signet_rule.h>

// What a build has. `read` answers with a module's size, or -1; `into` is written when there is room.
__attribute__((import_module("signet:build"), import_name("granted"))) bool build_granted(uint32_t interface);
__attribute__((import_module("signet:build"), import_name("imported"))) void build_imported(uint32_t interface);
__attribute__((import_module("signet:build"), import_name("read")))
int32_t build_read(const char *name, size_t length, char *into, size_t room);
__attribute__((import_module("signet:build"), import_name("fail"), noreturn))
void build_fail(const char *what, size_t length, const char *where, size_t where_length);

static const char prelude[] = {
#embed "prelude.js" suffix(, 0)
};
static const char entry[] = {
#embed "entry.js" suffix(, 0)
};

static JSRuntime *runtime;
static JSContext *context;
// Of entry.js and prelude.js.
static JSValue evaluate_entry, uncaught_entry, component_error;
static bool is_built;
// In the order that the build knows them by.
enum interface { LOG, CONFIG, COUNTER, LOOKUP, DIGEST, INTERFACES };
static bool granted[INTERFACES];

// The clock: a request's time, in seconds. Before the first request it must not be asked for.
uint64_t signet_clock;
bool signet_clock_asked;

#define ATOMS(of) \
    of(tag) of(val) of(profile) of(key) of(format) of(tenant) of(caller) of(payload) of(time) of(requestId) of(traceId) \
    of(sourceAddress) of(protocol) of(id) of(kind) of(issuer) of(subject) of(attributes) of(audience) of(lifetime) of(claims) \
    of(form) of(algorithm) of(digest)
#define AS_ENUM(name) A_##name,
#define AS_TEXT(name) #name,
enum { ATOMS(AS_ENUM) ATOM_COUNT };
static const char *const atom_texts[] = {ATOMS(AS_TEXT)};
static JSAtom atoms[ATOM_COUNT];

// Texts that requests are made of again and again.
#define TEXTS(of) \
    of(text) of(int) of(float) of(boolean) of(texts) of(json) of(token) of(artifact) of(digest) of(message) of(http1) of(http2) of(http3)
#define AS_TEXT_ENUM(name) T_##name,
enum { TEXTS(AS_TEXT_ENUM) TEXT_COUNT };
static const char *const text_texts[] = {TEXTS(AS_TEXT)};
static JSValue texts[TEXT_COUNT];

// ---- from the host

static JSValue from_text(signet_text text) { return JS_NewStringLen(context, text.at, text.length); }
static JSValue from_option(signet_option_text text) { return text.is_some ? from_text(text.text) : JS_UNDEFINED; }
static JSValue known(int text) { return JS_DupValue(context, texts[text]); }

static JSValue object(int count, const int *names, const JSValue *values) {
    JSAtom props[16];
    for (int at = 0; at < count; at++) props[at] = atoms[names[at]];
    return JS_NewObjectFrom(context, count, props, values);
}
#define OBJECT(names, ...) \
    object(sizeof((const int[])names) / sizeof(int), (const int[])names, (const JSValue[]){__VA_ARGS__})
#define LIST(...) {__VA_ARGS__}

static JSValue from_texts(signet_texts list) {
    JSValue *items = malloc(list.length * sizeof(JSValue) + 1);
    if (items == NULL) return JS_ThrowOutOfMemory(context);
    for (size_t at = 0; at < list.length; at++) items[at] = from_text(list.at[at]);
    JSValue array = JS_NewArrayFrom(context, (int)list.length, items);
    free(items);
    return array;
}

static JSValue from_value(const signet_value *value) {
    JSValue inner;
    switch (value->kind) {
    case SIGNET_INT: inner = JS_NewBigInt64(context, value->integer); break;
    case SIGNET_FLOAT: inner = JS_NewFloat64(context, value->number); break;
    case SIGNET_BOOL: inner = JS_NewBool(context, value->boolean); break;
    case SIGNET_TEXTS: inner = from_texts(value->texts); break;
    default: inner = from_text(value->text);
    }
    return OBJECT(LIST(A_tag, A_val), known(T_text + value->kind), inner);
}

static JSValue from_pairs(signet_pairs pairs) {
    JSValue *items = malloc(pairs.length * sizeof(JSValue) + 1);
    if (items == NULL) return JS_ThrowOutOfMemory(context);
    for (size_t at = 0; at < pairs.length; at++) {
        JSValue pair[] = {from_text(pairs.at[at].name), from_value(&pairs.at[at].value)};
        items[at] = JS_NewArrayFrom(context, 2, pair);
    }
    JSValue array = JS_NewArrayFrom(context, (int)pairs.length, items);
    free(items);
    return array;
}

// What the host gave to a function of the rule: nothing of it where memory ran out on the way.
static JSValue whole(JSValue value) { return JS_HasException(context) ? JS_EXCEPTION : value; }

static JSValue from_bytes(signet_bytes bytes) { return JS_NewUint8ArrayCopy(context, bytes.at, bytes.length); }

static JSValue from_request(const signet_request *request) {
    const signet_caller *caller = &request->caller;
    JSValue payload;
    if (request->is_artifact) {
        const signet_artifact *artifact = &request->artifact;
        payload = OBJECT(LIST(A_form, A_algorithm, A_digest), known(T_digest + artifact->is_message),
                         from_text(artifact->algorithm), from_bytes(artifact->digest));
    } else {
        const signet_token *token = &request->token;
        payload = OBJECT(LIST(A_subject, A_audience, A_lifetime, A_claims), from_option(token->subject),
                         from_texts(token->audience), JS_NewUint32(context, token->lifetime), from_pairs(token->claims));
    }
    return OBJECT(
        LIST(A_profile, A_key, A_format, A_tenant, A_caller, A_payload, A_time, A_requestId, A_traceId, A_sourceAddress, A_protocol),
        from_text(request->profile), from_text(request->key), from_text(request->format), from_text(request->tenant),
        OBJECT(LIST(A_id, A_kind, A_issuer, A_subject, A_attributes), from_text(caller->id), from_text(caller->kind),
               from_text(caller->issuer), from_text(caller->subject), from_pairs(caller->attributes)),
        OBJECT(LIST(A_tag, A_val), known(T_token + request->is_artifact), payload), JS_NewBigUint64(context, request->time),
        from_text(request->request_id), from_option(request->trace_id), from_text(request->source_address),
        known(T_http1 + request->protocol));
}

// ---- to the host: of what entry.js has made plain. Anything else is a trap.

static void must(bool holds) {
    if (!holds) __builtin_trap();
}

// Whether UTF-8 of the engine is UTF-8: it writes half a surrogate pair as it is.
static bool is_well_formed(signet_text text) {
    for (size_t at = 0; at + 1 < text.length; at++)
        if ((uint8_t)text.at[at] == 0xED && (uint8_t)text.at[at + 1] >= 0xA0) return false;
    return true;
}

static signet_text to_text(JSValueConst value) {
    signet_text text;
    must(JS_IsString(value));
    text.at = JS_ToCStringLen(context, &text.length, value);
    must(text.at != NULL && is_well_formed(text));
    return text;
}

// An item of an array, which keeps it.
static JSValueConst item(JSValueConst array, uint32_t at) {
    JSValue value = JS_GetPropertyUint32(context, array, at);
    must(!JS_IsException(value));
    JS_FreeValue(context, value);
    return value;
}

static size_t length(JSValueConst array) {
    int64_t length = 0;
    must(JS_IsArray(array) && JS_GetLength(context, array, &length) == 0 && length < INT32_MAX);
    return (size_t)length;
}

static void *room(size_t count, size_t size) {
    void *block = calloc(count + 1, size);
    must(block != NULL);
    return block;
}

static signet_value to_value(uint8_t kind, JSValueConst from) {
    signet_value value = {.kind = kind};
    switch (kind) {
    case SIGNET_INT: must(JS_IsBigInt(from) && JS_ToBigInt64(context, &value.integer, from) == 0); break;
    case SIGNET_FLOAT: must(JS_IsNumber(from) && JS_ToFloat64(context, &value.number, from) == 0); break;
    case SIGNET_BOOL: must(JS_IsBool(from)); value.boolean = JS_ToBool(context, from); break;
    case SIGNET_TEXTS: {
        size_t count = length(from);
        signet_text *items = room(count, sizeof *items);
        for (size_t at = 0; at < count; at++) items[at] = to_text(item(from, at));
        value.texts = (signet_texts){items, count};
        break;
    }
    default: value.text = to_text(from);
    }
    return value;
}

static uint32_t to_number(JSValueConst from) {
    uint32_t number = 0;
    must(JS_IsNumber(from) && JS_ToUint32(context, &number, from) == 0);
    return number;
}

// [code, message], or [cap or undefined, claims, null]: each claim [name, number of its kind, value]. `answer` is zeros.
static void to_answer(JSValueConst from, signet_answer *answer) {
    if (length(from) == 2) {
        answer->is_refusal = 1;
        answer->code = to_text(item(from, 0));
        answer->message = to_text(item(from, 1));
        return;
    }
    JSValueConst cap = item(from, 0), claims = item(from, 1);
    if (!JS_IsUndefined(cap)) answer->lifetime_cap = (signet_cap){1, to_number(cap)};
    size_t count = length(claims);
    signet_pair *pairs = room(count, sizeof *pairs);
    for (size_t at = 0; at < count; at++) {
        JSValueConst claim = item(claims, at);
        uint32_t kind = to_number(item(claim, 1));
        must(kind <= SIGNET_JSON);
        pairs[at] = (signet_pair){to_text(item(claim, 0)), to_value((uint8_t)kind, item(claim, 2))};
    }
    answer->claims = (signet_pairs){pairs, count};
}

// ---- the imports, as functions of the rule

static JSValue wrong_type(const char *function, const char *what) {
    return JS_ThrowTypeError(context, "%s: %s", function, what);
}

// At a build there is no edge to ask. The rule's memory is kept as it is then, so that an answer would be every edge's.
static bool has_edge(const char *function) {
    if (!is_built) JS_ThrowTypeError(context, "`%s` is called outside of `evaluate`, where there is no edge to answer", function);
    return is_built;
}

// An argument that must be a text. To be freed: JS_FreeCString.
static bool argument(const char *function, const char *what, JSValueConst value, signet_text *text) {
    if (!JS_IsString(value)) return wrong_type(function, what), false;
    text->at = JS_ToCStringLen(context, &text->length, value);
    if (text->at == NULL) return false;
    if (!is_well_formed(*text)) return wrong_type(function, "the text has half of a surrogate pair"), false;
    return true;
}

// Throws an error with `problem` for its payload.
static JSValue problem(const char *problem) {
    JSValue payload = JS_NewString(context, problem);
    JSValue error = JS_IsException(payload) ? payload : JS_CallConstructor(context, component_error, 1, &payload);
    return JS_IsException(error) ? error : JS_Throw(context, error);
}

static JSValue js_log(JSContext *_, JSValueConst this, int count, JSValueConst *arguments) {
    static const char *const levels[] = {"trace", "debug", "info", "warn", "error"};
    signet_text level, line;
    if (!has_edge("log")) return JS_EXCEPTION;
    if (!argument("log", "the level must be a text", arguments[0], &level)) return JS_EXCEPTION;
    if (!argument("log", "the line must be a text", arguments[1], &line)) return JS_EXCEPTION;
    for (int at = 0; at < 5; at++) {
        if (level.length != strlen(levels[at]) || memcmp(levels[at], level.at, level.length) != 0) continue;
        if (granted[LOG]) signet_log_line(at, line.at, line.length);
        return JS_UNDEFINED;
    }
    return wrong_type("log", "the level must be one of trace, debug, info, warn and error");
}

static JSValue js_setting(JSContext *_, JSValueConst this, int count, JSValueConst *arguments) {
    signet_text name;
    signet_setting setting;
    if (!has_edge("get")) return JS_EXCEPTION;
    if (!argument("get", "the setting's name must be a text", arguments[0], &name)) return JS_EXCEPTION;
    signet_config_get(name.at, name.length, &setting);
    return setting.is_some ? whole(from_value(&setting.value)) : JS_UNDEFINED;
}

static JSValue js_increment(JSContext *_, JSValueConst this, int count, JSValueConst *arguments) {
    signet_text key;
    double seconds;
    signet_counted counted;
    if (!has_edge("increment")) return JS_EXCEPTION;
    if (!argument("increment", "the key must be a text", arguments[0], &key)) return JS_EXCEPTION;
    if (!JS_IsNumber(arguments[1]) || JS_ToFloat64(context, &seconds, arguments[1]) != 0 || !(seconds >= 0) ||
        !(seconds <= UINT32_MAX) || seconds != (uint32_t)seconds)
        return wrong_type("increment", "windowSeconds must be a whole number");
    signet_counter_increment(key.at, key.length, (uint32_t)seconds, &counted);
    if (!counted.is_error) return JS_NewUint32(context, counted.uses);
    return problem(counted.problem == SIGNET_COUNTER_FULL ? "full" : "out-of-bounds");
}

static JSValue js_look_up(JSContext *_, JSValueConst this, int count, JSValueConst *arguments, int by_prefix) {
    static const char *const problems[] = {"no-such-table", "wrong-kind", "not-an-address"};
    const char *function = by_prefix ? "prefix" : "get";
    signet_text table, key;
    signet_row row;
    if (!has_edge(function)) return JS_EXCEPTION;
    if (!argument(function, "the table must be a text", arguments[0], &table)) return JS_EXCEPTION;
    if (!argument(function, by_prefix ? "the address must be a text" : "the key must be a text", arguments[1], &key))
        return JS_EXCEPTION;
    (by_prefix ? signet_lookup_prefix : signet_lookup_get)(table.at, table.length, key.at, key.length, &row);
    if (!row.is_error) return from_option(row.value);
    return problem(problems[row.problem]);
}

static JSValue js_digest(JSContext *_, JSValueConst this, int count, JSValueConst *arguments, int algorithm) {
    static void (*const functions[])(const uint8_t *, size_t, signet_bytes *) = {
        signet_digest_sha256, signet_digest_sha384, signet_digest_sha512};
    size_t length;
    signet_bytes digest;
    if (!has_edge("digest")) return JS_EXCEPTION;
    const uint8_t *data = JS_GetTypedArrayType(arguments[0]) == JS_TYPED_ARRAY_UINT8
                              ? JS_GetUint8Array(context, &length, arguments[0]) : NULL;
    if (data == NULL) {
        JS_FreeValue(context, JS_GetException(context));
        return wrong_type("digest", "the data must be a Uint8Array; for a text: new TextEncoder().encode(text)");
    }
    functions[algorithm](data, length, &digest);
    return from_bytes(digest);
}

static const JSCFunctionListEntry log_functions[] = {JS_CFUNC_DEF("log", 2, js_log)};
static const JSCFunctionListEntry config_functions[] = {JS_CFUNC_DEF("get", 1, js_setting)};
static const JSCFunctionListEntry counter_functions[] = {JS_CFUNC_DEF("increment", 2, js_increment)};
static const JSCFunctionListEntry lookup_functions[] = {
    JS_CFUNC_MAGIC_DEF("get", 2, js_look_up, false), JS_CFUNC_MAGIC_DEF("prefix", 2, js_look_up, true)};
static const JSCFunctionListEntry digest_functions[] = {JS_CFUNC_MAGIC_DEF("sha256", 1, js_digest, 0),
    JS_CFUNC_MAGIC_DEF("sha384", 1, js_digest, 1), JS_CFUNC_MAGIC_DEF("sha512", 1, js_digest, 2)};

#define FUNCTIONS(list) list, sizeof list / sizeof *list
static const struct { const char *module; const JSCFunctionListEntry *functions; int count; } interfaces[INTERFACES] = {
    [LOG] = {"signet:rule/log@1.0.0", FUNCTIONS(log_functions)},
    [CONFIG] = {"signet:rule/config@1.0.0", FUNCTIONS(config_functions)},
    [COUNTER] = {"signet:rule/counter@1.1.0", FUNCTIONS(counter_functions)},
    [LOOKUP] = {"signet:rule/lookup@1.1.0", FUNCTIONS(lookup_functions)},
    [DIGEST] = {"signet:rule/digest@1.1.0", FUNCTIONS(digest_functions)},
};

// ---- for prelude.js and entry.js

static JSValue js_encode(JSContext *_, JSValueConst this, int count, JSValueConst *arguments) {
    size_t length;
    const char *text = JS_ToCStringLen(context, &length, arguments[0]);
    return text == NULL ? JS_EXCEPTION : JS_NewUint8ArrayCopy(context, (const uint8_t *)text, length);
}

static JSValue js_decode(JSContext *_, JSValueConst this, int count, JSValueConst *arguments) {
    size_t length;
    const uint8_t *data = JS_GetUint8Array(context, &length, arguments[0]);
    return data == NULL ? JS_EXCEPTION : JS_NewStringLen(context, (const char *)data, length);
}

static const JSCFunctionListEntry own_functions[] = {
    JS_CFUNC_DEF("log", 2, js_log), JS_CFUNC_DEF("encode", 1, js_encode), JS_CFUNC_DEF("decode", 1, js_decode)};

// ---- the build

// Ends the build with an exception, or another text.
static void fail(JSValueConst thrown) {
    bool is_error = JS_IsError(thrown);
    JSValue stack = is_error ? JS_GetPropertyStr(context, thrown, "stack") : JS_UNDEFINED;
    JSValue told = is_error || JS_IsString(thrown) ? JS_DupValue(context, thrown)
                                                   : JS_JSONStringify(context, thrown, JS_UNDEFINED, JS_UNDEFINED);
    const char *what = JS_ToCString(context, told), *where = JS_IsString(stack) ? JS_ToCString(context, stack) : "";
    if (what == NULL) what = "something was thrown that cannot be told";
    build_fail(what, strlen(what), where, strlen(where));
}

static JSValue checked(JSValue value) {
    if (JS_IsException(value)) fail(JS_GetException(context));
    return value;
}

static int exported(JSContext *_, JSModuleDef *module) {
    const char *name = JS_AtomToCString(context, JS_GetModuleName(context, module));
    for (int at = 0; name != NULL && at < INTERFACES; at++)
        if (strcmp(name, interfaces[at].module) == 0)
            return JS_SetModuleExportList(context, module, interfaces[at].functions, interfaces[at].count);
    return -1;
}

static JSModuleDef *interface(const char *name, int at) {
    if (!granted[at]) {
        int end = (int)strcspn(name, "@");
        JS_ThrowTypeError(context, "`%s` is not granted: write %.*s into `imports` of plugin.toml", name, end - 12, name + 12);
        return NULL;
    }
    build_imported((uint32_t)at);
    JSModuleDef *module = JS_NewCModule(context, name, exported);
    if (module != NULL) JS_AddModuleExportList(context, module, interfaces[at].functions, interfaces[at].count);
    return module;
}

static JSModuleDef *load(JSContext *_, const char *name, void *opaque) {
    if (is_built) {
        JS_ThrowReferenceError(context, "`%s` was not loaded at the build: import it at the top of a module", name);
        return NULL;
    }
    for (int at = 0; at < INTERFACES; at++)
        if (strcmp(name, interfaces[at].module) == 0) return interface(name, at);
    int32_t size = build_read(name, strlen(name), NULL, 0);
    if (size < 0) {
        JS_ThrowReferenceError(context, strncmp(name, "signet:", 7) == 0
            ? "there is no `%s`; signet.d.ts has what there is, with its version"
            : "there is no module `%s` of at most 8 MiB in the plugin's directory; what npm has, a bundler puts into rule.js", name);
        return NULL;
    }
    if (strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".json") == 0) {
        JS_ThrowTypeError(context, "`%s` is no module: write what it has into one, behind `export default`", name);
        return NULL;
    }
    char *source = room((size_t)size, 1);
    if (build_read(name, strlen(name), source, (size_t)size) != size) {
        JS_ThrowReferenceError(context, "`%s` was written to while it was read", name);
        return NULL;
    }
    JSValue module = JS_Eval(context, source, (size_t)size, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    // What is zero is not in the component.
    explicit_bzero(source, (size_t)size);
    free(source);
    if (JS_IsException(module)) return NULL;
    JSModuleDef *loaded = JS_VALUE_GET_PTR(module);
    JS_FreeValue(context, module);
    return loaded;
}

// How many promises were rejected that nothing awaits, and what the last one was rejected with.
static int lost_count;
static JSValue lost;

static void track(JSContext *_, JSValueConst promise, JSValueConst reason, bool is_handled, void *opaque) {
    lost_count += is_handled ? -1 : 1;
    if (!is_handled) lost = JS_DupValue(context, reason);
}

// What a value comes to when all that was begun is done; an exception where a promise is rejected, or never comes to anything. What was
// thrown where nothing awaits it is an exception too: it may have been a refusal.
static JSValue settled(JSValue value) {
    if (JS_IsException(value)) return value;
    JSContext *in;
    int ran;
    while ((ran = JS_ExecutePendingJob(runtime, &in)) > 0) {}
    if (ran < 0) return JS_EXCEPTION;
    if (JS_IsPromise(value)) {
        JSPromiseStateEnum state = JS_PromiseState(context, value);
        value = JS_PromiseResult(context, value);
        // That is told here.
        if (state == JS_PROMISE_REJECTED) return lost_count = 0, JS_Throw(context, value);
        if (state == JS_PROMISE_PENDING)
            return JS_ThrowTypeError(context, "it waits for what never comes: there is nothing to wait for in a rule");
    }
    return lost_count > 0 ? JS_Throw(context, lost) : value;
}

static void names(void) {
    for (int at = 0; at < ATOM_COUNT; at++) atoms[at] = JS_NewAtom(context, atom_texts[at]);
    for (int at = 0; at < TEXT_COUNT; at++) texts[at] = JS_NewString(context, text_texts[at]);
}

__attribute__((export_name("prepare"))) void prepare(void) {
    runtime = JS_NewRuntime();
    if (runtime == NULL) __builtin_trap();
    context = JS_NewContext(runtime);
    if (context == NULL) __builtin_trap();
    // An instance is gone after one call: to look for cycles would touch all of its memory.
    JS_SetGCThreshold(runtime, (size_t)-1);
    names();
    for (int at = 0; at < INTERFACES; at++) granted[at] = build_granted((uint32_t)at);
    // entry.js and `console` write to it.
    if (granted[LOG]) build_imported(LOG);
    JSValue global = JS_GetGlobalObject(context), own = JS_NewObject(context);
    JS_SetPropertyFunctionList(context, own, own_functions, sizeof own_functions / sizeof *own_functions);
    JSValue begin = checked(JS_Eval(context, prelude, sizeof prelude - 1, "signet:prelude", JS_EVAL_TYPE_GLOBAL));
    component_error = checked(JS_Call(context, begin, global, 1, &own));
    JS_SetModuleLoaderFunc(runtime, NULL, load, NULL);
    JS_SetHostPromiseRejectionTracker(runtime, track, NULL);
    signet_clock_asked = false;
    JSValue module = checked(
        JS_Eval(context, entry, sizeof entry - 1, "signet:entry", JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY));
    JSModuleDef *loaded = JS_VALUE_GET_PTR(module);
    checked(settled(checked(JS_EvalFunction(context, module))));
    if (signet_clock_asked) fail(JS_NewString(context, "the rule asks for the time outside of `evaluate`, where there is none: take request.time, "
                                                      "or Date.now() within `evaluate`"));
    JSValue make = checked(JS_GetPropertyStr(context, checked(JS_GetModuleNamespace(context, loaded)), "entry"));
    JSValue made = checked(JS_Call(context, make, JS_UNDEFINED, 1, &own));
    evaluate_entry = item(made, 0);
    uncaught_entry = item(made, 1);
    is_built = true;
}

// ---- the rule

__attribute__((export_name("cabi_realloc"))) void *signet_realloc(void *old, size_t old_size, size_t align, size_t size) {
    void *block = realloc(old, size);
    must(block != NULL);
    return block;
}

// `place` is a request's in its batch, from 1; 0 where there is none. What is thrown is a trap, so that no promise is left over to the
// next of a batch: each begins with what the rule's own modules keep.
static void judge(const signet_request *request, uint32_t place, signet_answer *answer) {
    signet_clock = request->time;
    JSValue argument = whole(from_request(request));
    must(!JS_IsException(argument));
    JSValue answered = settled(JS_Call(context, evaluate_entry, JS_UNDEFINED, 1, &argument));
    if (JS_IsException(answered)) {
        JSValue thrown[] = {JS_GetException(context), JS_NewBool(context, lost_count > 0), JS_NewUint32(context, place)};
        JS_Call(context, uncaught_entry, JS_UNDEFINED, 3, thrown);
        __builtin_trap();
    }
    to_answer(answered, answer);
    // The next has their room. After a single one, nothing comes that would need it.
    if (place > 0) {
        JS_FreeValue(context, argument);
        JS_FreeValue(context, answered);
    }
}

__attribute__((export_name("evaluate"))) signet_answer *evaluate_export(const signet_request *request) {
    signet_answer *answer = room(1, sizeof *answer);
    judge(request, 0, answer);
    return answer;
}

__attribute__((export_name("evaluate-batch"))) const signet_answers *evaluate_batch_export(const signet_request *requests, size_t count) {
    static signet_answers made;
    signet_answer *each = room(count, sizeof *each);
    for (size_t at = 0; at < count; at++) judge(&requests[at], (uint32_t)at + 1, &each[at]);
    made = (signet_answers){each, count};
    return &made;
}
