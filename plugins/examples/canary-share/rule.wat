;; Lets a share of the callers use a profile, always the same ones: a canary's.
;;
;; Each caller falls into one of 100 buckets, by a hash of the setting `salt` and the caller's id; those below the
;; setting `percent` may go on. Where the fields of a request lie is said in the template (`signet plugin new --lang wat`);
;; this reads one of them: 32 caller.id, an address and a length.
(module
  (import "signet:rule/config@1.0.0" "get" (func $get (param i32 i32 i32)))
  (import "signet:rule/log@1.0.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))

  (data (i32.const 0) "percent")
  (data (i32.const 16) "salt")
  (data (i32.const 32) "not_in_canary")
  (data (i32.const 48) "rule_misconfigured")
  (data (i32.const 80) "this caller is not in the canary; use the other profile")
  (data (i32.const 144) "the rule's settings are wrong; tell the operator")
  (data (i32.const 208) "`percent` must be a whole number from 0 to 100, and `salt` a text")

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

  ;; FNV-1a of 32 bits, begun with what a text before this one came to.
  (func $hash (param $from i32) (param $at i32) (param $length i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $at) (local.get $end)))
        (local.set $from
          (i32.mul (i32.xor (local.get $from) (i32.load8_u (local.get $at))) (i32.const 0x01000193)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $from))

  ;; The finalizer of MurmurHash3: names that differ in their last letter only are far apart after it.
  (func $mix (param $h i32) (result i32)
    (local.set $h (i32.mul (i32.xor (local.get $h) (i32.shr_u (local.get $h) (i32.const 16))) (i32.const 0x85ebca6b)))
    (local.set $h (i32.mul (i32.xor (local.get $h) (i32.shr_u (local.get $h) (i32.const 13))) (i32.const 0xc2b2ae35)))
    (i32.xor (local.get $h) (i32.shr_u (local.get $h) (i32.const 16))))

  ;; `percent` is read to 600, `salt` to 640: whether there is one, at 8 its kind (0 text, 1 whole number), at 16 its value.
  (func $settings_are_usable (result i32)
    (call $get (i32.const 0) (i32.const 7) (i32.const 600))
    (call $get (i32.const 16) (i32.const 4) (i32.const 640))
    (i32.and
      (i32.and
        (i32.and
          (i32.eq (i32.load8_u (i32.const 600)) (i32.const 1))
          (i32.eq (i32.load8_u (i32.const 608)) (i32.const 1)))
        (i64.le_u (i64.load (i32.const 616)) (i64.const 100)))
      (i32.or
        (i32.eqz (i32.load8_u (i32.const 640)))
        (i32.eqz (i32.load8_u (i32.const 648))))))

  (func (export "evaluate") (param $request i32) (result i32)
    (local $h i32)
    (if (i32.eqz (call $settings_are_usable))
      (then
        ;; 4: the level error.
        (call $log (i32.const 4) (i32.const 208) (i32.const 65))
        (return (call $refuse (i32.const 48) (i32.const 18) (i32.const 144) (i32.const 48)))))
    (local.set $h (i32.const 0x811c9dc5))
    (if (i32.load8_u (i32.const 640))
      (then
        (local.set $h
          (call $hash (local.get $h) (i32.load (i32.const 656)) (i32.load (i32.const 660))))))
    (local.set $h
      (call $hash (local.get $h) (i32.load offset=32 (local.get $request)) (i32.load offset=36 (local.get $request))))
    (if (i32.ge_u
          (i32.rem_u (call $mix (local.get $h)) (i32.const 100))
          (i32.load (i32.const 616)))
      (then (return (call $refuse (i32.const 32) (i32.const 13) (i32.const 80) (i32.const 55)))))
    ;; A verdict with nothing in it.
    (memory.fill (i32.const 512) (i32.const 0) (i32.const 20))
    (i32.const 512)))
