;; expect: bad_output
(core module $rule
  (import "host" "get" (func $get (param i32 i32 i32)))
  (func (export "evaluate") (param i32) (result i32)
    (call $get (i32.const 0) (i32.const 0) (i32.const -8))
    (i32.const 1024)))
