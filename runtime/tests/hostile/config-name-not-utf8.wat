;; expect: bad_output
(core module $rule
  (import "host" "memory" (memory 1))
  (import "host" "get" (func $get (param i32 i32 i32)))
  (data (i32.const 0) "\80")
  (func (export "evaluate") (param i32) (result i32)
    (call $get (i32.const 0) (i32.const 1) (i32.const 512))
    (i32.const 1024)))
