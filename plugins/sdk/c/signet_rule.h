/* What a Signet rule in C is written with: the types of the world signet:rule/rule@1.1.0 as they lie in memory
 * (Canonical ABI of the component model), short ways to answer, and an allocator for guests that live for one call.
 * Freestanding: no libc. Include it in one file and define `evaluate`:
 *
 *     signet_answer *evaluate(const signet_request *request) { return signet_allow(); }
 *
 * With SIGNET_EVALUATE_BATCH defined before, the component exports `evaluate-batch` too, as the world
 * signet:rule/rule-batch@1.2.0 has it: `evaluate` for each of several requests of one caller, in one instance. Claims and texts
 * of an answer then lie in memory of their own, not in one static buffer. A rule may export an `evaluate-batch` of its own instead.
 *
 * Other files of the same rule define SIGNET_DECLARATIONS_ONLY before: then it has the types and the imports.
 */
#ifndef SIGNET_RULE_H
#define SIGNET_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* UTF-8, not ended by a zero. */
typedef struct { const char *at; size_t length; } signet_text;
typedef struct { const signet_text *at; size_t length; } signet_texts;
typedef struct { uint8_t is_some; signet_text text; } signet_option_text;
typedef struct { const uint8_t *at; size_t length; } signet_bytes;

enum signet_kind { SIGNET_TEXT, SIGNET_INT, SIGNET_FLOAT, SIGNET_BOOL, SIGNET_TEXTS, SIGNET_JSON };

/* A claim's, an attribute's or a setting's. `kind` says which member holds; JSON is in `text`. */
typedef struct {
    uint8_t kind;
    union { signet_text text; int64_t integer; double number; uint8_t boolean; signet_texts texts; };
} signet_value;

typedef struct { signet_text name; signet_value value; } signet_pair;
typedef struct { const signet_pair *at; size_t length; } signet_pairs;

typedef struct {
    signet_text id, kind, issuer, subject;
    signet_pairs attributes; /* sorted by name, each name once */
} signet_caller;

typedef struct {
    signet_option_text subject;
    signet_texts audience;
    uint32_t lifetime; /* seconds */
    signet_pairs claims;
} signet_token;

typedef struct {
    uint8_t is_message; /* 0: the caller sent the digest itself */
    signet_text algorithm;
    signet_bytes digest;
} signet_artifact;

typedef struct {
    signet_text profile, key, format, tenant;
    signet_caller caller;
    uint8_t is_artifact; /* which of the two holds */
    union { signet_token token; signet_artifact artifact; };
    uint64_t time; /* seconds since 1970 */
    signet_text request_id;
    signet_option_text trace_id;
    signet_text source_address;
    uint8_t protocol; /* 0 HTTP/1.1, 1 HTTP/2, 2 HTTP/3 */
} signet_request;

typedef struct { uint8_t is_some; uint32_t seconds; } signet_cap;

typedef struct {
    uint8_t is_refusal;
    union {
        struct { signet_cap lifetime_cap; signet_pairs claims; };
        struct { signet_text code, message; };
    };
} signet_answer;

/* Of a batch: as many as there are requests, each to the one in its place. */
typedef struct { const signet_answer *at; size_t length; } signet_answers;

typedef struct { uint8_t is_some; signet_value value; } signet_setting;

/* What `signet_count` and the lookups answer; a problem is one of the enum beside it. */
enum signet_counter_problem { SIGNET_COUNTER_FULL, SIGNET_COUNTER_OUT_OF_BOUNDS };
typedef struct { uint8_t is_error; union { uint32_t uses; uint8_t problem; }; } signet_counted;
enum signet_lookup_problem { SIGNET_NO_SUCH_TABLE, SIGNET_WRONG_KIND, SIGNET_NOT_AN_ADDRESS };
typedef struct { uint8_t is_error; union { signet_option_text value; uint8_t problem; }; } signet_row;

enum signet_level { SIGNET_TRACE, SIGNET_DEBUG, SIGNET_INFO, SIGNET_WARN, SIGNET_ERROR };

_Static_assert(sizeof(signet_pair) == 24 && sizeof(signet_caller) == 40, "as the Canonical ABI has them");
_Static_assert(offsetof(signet_request, is_artifact) == 72 && offsetof(signet_request, time) == 112, "likewise");
_Static_assert(sizeof(signet_request) == 152 && sizeof(signet_answer) == 20, "likewise");
_Static_assert(sizeof(signet_counted) == 8 && sizeof(signet_row) == 16, "likewise");

__attribute__((import_module("signet:rule/config@1.0.0"), import_name("get")))
void signet_config_get(const char *name, size_t length, signet_setting *setting);
__attribute__((import_module("signet:rule/log@1.0.0"), import_name("log")))
void signet_log_line(int32_t level, const char *message, size_t length);
__attribute__((import_module("signet:rule/counter@1.1.0"), import_name("increment")))
void signet_counter_increment(const char *key, size_t length, uint32_t window, signet_counted *counted);
__attribute__((import_module("signet:rule/lookup@1.1.0"), import_name("get")))
void signet_lookup_get(const char *table, size_t table_length, const char *key, size_t length, signet_row *row);
__attribute__((import_module("signet:rule/lookup@1.1.0"), import_name("prefix")))
void signet_lookup_prefix(const char *table, size_t table_length, const char *key, size_t length, signet_row *row);
__attribute__((import_module("signet:rule/digest@1.1.0"), import_name("sha256")))
void signet_digest_sha256(const uint8_t *data, size_t length, signet_bytes *digest);
__attribute__((import_module("signet:rule/digest@1.1.0"), import_name("sha384")))
void signet_digest_sha384(const uint8_t *data, size_t length, signet_bytes *digest);
__attribute__((import_module("signet:rule/digest@1.1.0"), import_name("sha512")))
void signet_digest_sha512(const uint8_t *data, size_t length, signet_bytes *digest);

#define SIGNET_LITERAL(text) ((signet_text){(text), sizeof(text) - 1})

#ifndef SIGNET_DECLARATIONS_ONLY

/* The rule. The answer must outlive the call: `signet_refuse` and the like see to that. NULL is no answer: the call traps. */
signet_answer *evaluate(const signet_request *request);

__attribute__((export_name("evaluate"))) signet_answer *signet_evaluate(const signet_request *request) {
    signet_answer *answer = evaluate(request);
    /* Zeros at the address 0 would be a verdict that allows. */
    if (answer == NULL) __builtin_trap();
    return answer;
}

/* Memory that is handed out upwards and never taken back: the whole instance goes with the call. */
static inline void *signet_allocate(size_t size, size_t align) {
    extern uint8_t __heap_base;
    static uintptr_t next;
    if (next == 0) next = (uintptr_t)&__heap_base;
    uintptr_t at = (next + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    if (at < next || at + size < at) __builtin_trap();
    if (at + size > have && __builtin_wasm_memory_grow(0, (at + size - have + 65535) >> 16) == (size_t)-1) __builtin_trap();
    next = at + size;
    return (void *)at;
}

__attribute__((export_name("cabi_realloc")))
void *signet_realloc(const uint8_t *old, size_t old_size, size_t align, size_t size) {
    uint8_t *block = signet_allocate(size, align);
    for (size_t at = 0; at < old_size; at++) block[at] = old[at];
    return block;
}

#ifdef SIGNET_EVALUATE_BATCH
/* Each answer is copied before the next request is judged, and what it points to is not: that lies in memory of its own. */
__attribute__((export_name("evaluate-batch")))
signet_answers *signet_evaluate_batch(const signet_request *requests, size_t length) {
    signet_answers *answers = signet_allocate(sizeof *answers, 8);
    signet_answer *each = signet_allocate(length * sizeof *each, 8);
    for (size_t at = 0; at < length; at++) each[at] = *signet_evaluate(&requests[at]);
    *answers = (signet_answers){each, length};
    return answers;
}
#endif

static inline bool signet_same(signet_text a, signet_text b) {
    if (a.length != b.length) return false;
    for (size_t at = 0; at < a.length; at++) if (a.at[at] != b.at[at]) return false;
    return true;
}

/* A claim's or an attribute's value, or NULL. */
static inline const signet_value *signet_find(signet_pairs pairs, signet_text name) {
    for (size_t at = 0; at < pairs.length; at++) if (signet_same(pairs.at[at].name, name)) return &pairs.at[at].value;
    return NULL;
}

/* A setting of the plugin. */
static inline signet_setting signet_config(signet_text name) {
    signet_setting setting;
    signet_config_get(name.at, name.length, &setting);
    return setting;
}

/* One line for the edge's log. */
static inline void signet_log(enum signet_level level, signet_text message) {
    signet_log_line(level, message.at, message.length);
}

/* Counts one use of `key` (1 to 256 bytes); how many there were within the last `seconds` (1 to 86400), this one included.
 * It stays counted, whatever the rule answers. Refuse when it is full. Needs the grant `counter`. */
static inline signet_counted signet_count(signet_text key, uint32_t seconds) {
    signet_counted counted;
    signet_counter_increment(key.at, key.length, seconds, &counted);
    return counted;
}

/* The value of a key in a table of exact keys. Needs the grant `lookup`. */
static inline signet_row signet_look_up(signet_text table, signet_text key) {
    signet_row row;
    signet_lookup_get(table.at, table.length, key.at, key.length, &row);
    return row;
}

/* The value of the longest prefix that holds an IP address, in a table of prefixes. Needs the grant `lookup`. */
static inline signet_row signet_look_up_address(signet_text table, signet_text address) {
    signet_row row;
    signet_lookup_prefix(table.at, table.length, address.at, address.length, &row);
    return row;
}

/* SHA-2, by the host: 32, 48 or 64 bytes. At most 64 KiB a call and 1 MiB a request. Needs the grant `digest`. */
static inline signet_bytes signet_sha256(signet_bytes data) {
    signet_bytes digest;
    signet_digest_sha256(data.at, data.length, &digest);
    return digest;
}

static inline signet_bytes signet_sha384(signet_bytes data) {
    signet_bytes digest;
    signet_digest_sha384(data.at, data.length, &digest);
    return digest;
}

static inline signet_bytes signet_sha512(signet_bytes data) {
    signet_bytes digest;
    signet_digest_sha512(data.at, data.length, &digest);
    return digest;
}

static inline signet_answer *signet_allow(void) {
    signet_answer *answer = signet_allocate(sizeof *answer, 8);
    *answer = (signet_answer){.is_refusal = 0};
    return answer;
}

/* At most so many seconds, at least 1. */
static inline signet_answer *signet_allow_for(uint32_t seconds) {
    signet_answer *answer = signet_allow();
    answer->lifetime_cap = (signet_cap){1, seconds};
    return answer;
}

/* `code`: 1 to 64 of a-z, 0-9 and _, stable. `message`: one line of at most 512 bytes. The caller sees both. */
static inline signet_answer *signet_refuse(signet_text code, signet_text message) {
    signet_answer *answer = signet_allocate(sizeof *answer, 8);
    answer->is_refusal = 1;
    answer->code = code;
    answer->message = message;
    return answer;
}

/* For a rule whose settings are unusable: says why in the edge's log, and refuses. A guard that guesses is none. */
static inline signet_answer *signet_misconfigured(signet_text problem) {
    signet_log(SIGNET_ERROR, problem);
    return signet_refuse(SIGNET_LITERAL("rule_misconfigured"),
                         SIGNET_LITERAL("the rule's settings are wrong; tell the operator"));
}

#endif /* SIGNET_DECLARATIONS_ONLY */

#endif
