;; expect: bad_output
;; A line of 120,000 bytes is not even looked at.
(core module $rule
  (import "host" "log" (func $log (param i32 i32 i32)))
  (func (export "evaluate") (param i32) (result i32)
    (call $log (i32.const 2) (i32.const 0) (i32.const 120000))
    (i32.const 1024)))
