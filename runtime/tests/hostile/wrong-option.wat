;; expect: bad_output
;; A lifetime cap that is neither there nor absent.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1028) "\09")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
