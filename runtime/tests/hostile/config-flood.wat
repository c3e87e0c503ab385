;; expect: trap
(core module $rule
  (import "host" "get" (func $get (param i32 i32 i32)))
  (func (export "evaluate") (param i32) (result i32)
    (loop $again (call $get (i32.const 0) (i32.const 4) (i32.const 512)) (br $again))
    unreachable))
