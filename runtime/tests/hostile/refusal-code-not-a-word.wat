;; expect: bad_output
;; A refusal whose code is no word.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1024) "\01\00\00\00" "\00\10\00\00\05\00\00\00" "\00\00\00\00\00\00\00\00")
  (data (i32.const 4096) "No\0d\0ano")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
