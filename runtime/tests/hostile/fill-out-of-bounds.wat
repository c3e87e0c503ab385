;; expect: trap
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (memory.fill (i32.const 131071) (i32.const 255) (i32.const 2))
    (i32.const 1024)))
