;; A rule that judges by the lifetime: it traps at 13 s, loops at 50 s, refuses 600 s, and else answers with a cap of as many seconds as it
;; has judged requests in this instance. What the tests put in is done with each request ("more"), and answers where `evaluate-batch` says
;; that its answers are ("answer").
(core module $rule
  (import "host" "memory" (memory 1))
  (import "host" "log" (func $log (param i32 i32 i32)))
  (global $judged (mut i32) (i32.const 0))
  (data (i32.const 16) "too_long")
  (data (i32.const 32) "no")
  (func $judge (param $request i32) (param $answer i32)
    (local $lifetime i32)
    (global.set $judged (i32.add (global.get $judged) (i32.const 1)))
    (local.set $lifetime (i32.load offset=96 (local.get $request)))
    {{more}}
    (if (i32.eq (local.get $lifetime) (i32.const 13)) (then unreachable))
    (if (i32.eq (local.get $lifetime) (i32.const 50)) (then (loop (br 0))))
    (if (i32.eq (local.get $lifetime) (i32.const 600))
      (then
        (i32.store8 (local.get $answer) (i32.const 1))
        (i32.store offset=4 (local.get $answer) (i32.const 16))
        (i32.store offset=8 (local.get $answer) (i32.const 8))
        (i32.store offset=12 (local.get $answer) (i32.const 32))
        (i32.store offset=16 (local.get $answer) (i32.const 2)))
      (else
        (i32.store8 offset=4 (local.get $answer) (i32.const 1))
        (i32.store offset=8 (local.get $answer) (global.get $judged)))))
  (func (export "evaluate") (param $request i32) (result i32)
    (call $judge (local.get $request) (i32.const 1024))
    (i32.const 1024))
  (func (export "evaluate-batch") (param $at i32) (param $length i32) (result i32)
    (local $answer i32) (local $left i32)
    (local.set $answer (i32.const 2048))
    (local.set $left (local.get $length))
    (loop $next
      (call $judge (local.get $at) (local.get $answer))
      (local.set $at (i32.add (local.get $at) (i32.const 152)))
      (local.set $answer (i32.add (local.get $answer) (i32.const 20)))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.store (i32.const 1024) (i32.const 2048))
    (i32.store (i32.const 1028) (local.get $length))
    {{answer}}))
