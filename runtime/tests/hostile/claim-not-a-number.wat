;; expect: bad_output
;; A float that JSON cannot say.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1036) "\00\08\00\00\01\00\00\00")
  (data (i32.const 2048) "\00\10\00\00\01\00\00\00" "\02\00\00\00\00\00\00\00" "\00\00\00\00\00\00\f8\7f")
  (data (i32.const 4096) "a")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
