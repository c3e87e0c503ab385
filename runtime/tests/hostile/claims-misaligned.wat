;; expect: bad_output
;; A list at an odd address.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1036) "\01\08\00\00\01\00\00\00")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
