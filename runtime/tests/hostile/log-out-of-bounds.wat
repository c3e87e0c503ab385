;; expect: bad_output
(core module $rule
  (import "host" "log" (func $log (param i32 i32 i32)))
  (func (export "evaluate") (param i32) (result i32)
    (call $log (i32.const 2) (i32.const 131000) (i32.const 1000))
    (i32.const 1024)))
