;; expect: bad_output
;; A refusal whose message has two lines.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1024) "\01\00\00\00" "\00\10\00\00\02\00\00\00" "\02\10\00\00\03\00\00\00")
  (data (i32.const 4096) "noa\0ab")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
