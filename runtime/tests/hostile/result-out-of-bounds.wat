;; expect: bad_output
;; The answer lies beyond memory.
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32) (i32.const 0x7ffffff0)))
