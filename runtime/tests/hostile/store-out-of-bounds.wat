;; expect: trap
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (i64.store (i32.const 131065) (i64.const -1))
    (i32.const 1024)))
