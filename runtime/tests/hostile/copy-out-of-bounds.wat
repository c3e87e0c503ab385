;; expect: trap
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (memory.copy (i32.const 0) (i32.const 4) (i32.const -1))
    (i32.const 1024)))
