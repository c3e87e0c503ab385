;; expect: bad_output
(core module $rule
  (import "host" "log" (func $log (param i32 i32 i32)))
  (func (export "evaluate") (param i32) (result i32)
    (call $log (i32.const 77) (i32.const 0) (i32.const 1))
    (i32.const 1024)))
