;; expect: bad_output
;; A list of 4,294,967,295 claims.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1036) "\00\00\00\00\ff\ff\ff\ff")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
