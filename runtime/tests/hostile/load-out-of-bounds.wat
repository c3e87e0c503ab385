;; expect: trap
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32) (i32.load offset=0xfffffff0 (i32.const -1))))
