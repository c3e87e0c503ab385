;; Caps each token's lifetime at the setting `max_seconds`, and wants a subject in it.
;;
;; A request is handed over by its address. Offsets of its fields, in bytes (a text is an address and a length):
;;     0 profile     8 key      16 format    24 tenant
;;    32 caller.id  40 .kind    48 .issuer   56 .subject   64 .attributes (address and count)
;;    72 payload: 0 a token, 1 an artifact; what it is begins at 76
;;       token:     76 whether it has a subject, 80 the subject   88 audience   96 lifetime   100 claims
;;       artifact:  76 form   80 algorithm   88 digest
;;   112 time (64 bits)   120 request-id   128 whether there is a trace-id, 132 it   140 source-address   148 protocol
;; An attribute or claim is 24 bytes: name at 0, kind of value at 8 (0 text, 1 int, 2 float, 3 boolean, 4 texts, 5 json),
;; value at 16. An answer: 0 at its start for a verdict, with 4 whether it caps, 8 the cap, 12 claims and 16 their count;
;; 1 for a refusal, with 4 code, 12 message.
(module
  (import "signet:rule/config@1.0.0" "get" (func $get (param i32 i32 i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))

  (data (i32.const 0) "max_seconds")
  (data (i32.const 16) "tokens_only")
  (data (i32.const 32) "subject_missing")
  (data (i32.const 48) "rule_misconfigured")
  (data (i32.const 80) "this rule judges tokens, and this is an artifact")
  (data (i32.const 144) "a token needs a subject")
  (data (i32.const 176) "the rule's settings are wrong; tell the operator")

  ;; Memory for what the host hands over: upwards, never taken back, since each call has a fresh instance.
  (func (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $new)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $heap) (i32.shl (memory.size) (i32.const 16))))
      (br_if $enough
        (i32.ne
          (memory.grow (i32.add (i32.shr_u (local.get $new) (i32.const 16)) (i32.const 1)))
          (i32.const -1)))
      (unreachable))
    (memory.copy (local.get $at) (local.get $old) (local.get $size))
    (local.get $at))

  ;; The answer lies at 512.
  (func $refuse (param $code i32) (param $code_length i32) (param $message i32) (param $message_length i32) (result i32)
    (i32.store (i32.const 512) (i32.const 1))
    (i32.store (i32.const 516) (local.get $code))
    (i32.store (i32.const 520) (local.get $code_length))
    (i32.store (i32.const 524) (local.get $message))
    (i32.store (i32.const 528) (local.get $message_length))
    (i32.const 512))

  (func (export "evaluate") (param $request i32) (result i32)
    (if (i32.load8_u offset=72 (local.get $request))
      (then (return (call $refuse (i32.const 16) (i32.const 11) (i32.const 80) (i32.const 48)))))
    (if (i32.eqz (i32.load8_u offset=76 (local.get $request)))
      (then (return (call $refuse (i32.const 32) (i32.const 15) (i32.const 144) (i32.const 23)))))
    ;; The setting: whether there is one at 600, its kind at 608, its value at 616. It must be 1 to 2^32 - 1.
    (call $get (i32.const 0) (i32.const 11) (i32.const 600))
    (if (i32.or
          (i32.or
            (i32.ne (i32.load8_u (i32.const 600)) (i32.const 1))
            (i32.ne (i32.load8_u (i32.const 608)) (i32.const 1)))
          (i64.ge_u (i64.sub (i64.load (i32.const 616)) (i64.const 1)) (i64.const 0xffffffff)))
      (then (return (call $refuse (i32.const 48) (i32.const 18) (i32.const 176) (i32.const 48)))))
    (i32.store (i32.const 512) (i32.const 0))
    (i32.store (i32.const 516) (i32.const 1))
    (i32.store (i32.const 520) (i32.load (i32.const 616)))
    (i32.store (i32.const 524) (i32.const 0))
    (i32.store (i32.const 528) (i32.const 0))
    (i32.const 512)))
