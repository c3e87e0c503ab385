;; expect: allowed
;; Being denied memory is no fault in itself.
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (drop (memory.grow (i32.const 65534)))
    (i32.const 1024)))
