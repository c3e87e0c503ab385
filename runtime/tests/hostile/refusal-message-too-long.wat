;; expect: bad_output
;; A refusal whose message has 600 bytes.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1024) "\01\00\00\00" "\00\10\00\00\02\00\00\00" "\00\20\00\00\58\02\00\00")
  (data (i32.const 4096) "no")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
