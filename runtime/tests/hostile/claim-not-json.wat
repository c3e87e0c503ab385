;; expect: bad_output
;; JSON that is none.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1036) "\00\08\00\00\01\00\00\00")
  (data (i32.const 2048) "\00\10\00\00\01\00\00\00" "\05\00\00\00\00\00\00\00" "\00\20\00\00\03\00\00\00")
  (data (i32.const 4096) "a")
  (data (i32.const 8192) "{]}")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
