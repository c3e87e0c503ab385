;; expect: bad_output
;; A text of 120,000 bytes.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1036) "\00\08\00\00\01\00\00\00")
  (data (i32.const 2048) "\00\10\00\00\01\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\c0\d4\01\00")
  (data (i32.const 4096) "a")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
