;; expect: bad_output
(core module $rule
  (import "host" "memory" (memory 1))
  (import "host" "log" (func $log (param i32 i32 i32)))
  (data (i32.const 0) "\c3\28")
  (func (export "evaluate") (param i32) (result i32)
    (call $log (i32.const 2) (i32.const 0) (i32.const 2))
    (i32.const 1024)))
