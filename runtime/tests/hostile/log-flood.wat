;; expect: trap
;; The host calls of one evaluation are counted.
(core module $rule
  (import "host" "memory" (memory 1))
  (import "host" "log" (func $log (param i32 i32 i32)))
  (func (export "evaluate") (param i32) (result i32)
    (loop $again (call $log (i32.const 2) (i32.const 0) (i32.const 100)) (br $again))
    unreachable))
