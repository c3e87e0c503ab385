;; expect: bad_output
;; A refusal with an empty code.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1024) "\01\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
