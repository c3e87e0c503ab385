;; expect: memory
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (if (i32.eq (memory.grow (i32.const 65534)) (i32.const -1)) (then unreachable))
    (i32.const 1024)))
