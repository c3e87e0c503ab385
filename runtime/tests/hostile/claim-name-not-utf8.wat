;; expect: bad_output
;; A claim whose name is not UTF-8.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1036) "\00\08\00\00\01\00\00\00")
  (data (i32.const 2048) "\00\10\00\00\02\00\00\00")
  (data (i32.const 4096) "\ff\fe")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
