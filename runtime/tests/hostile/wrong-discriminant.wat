;; expect: bad_output
;; Neither verdict nor refusal.
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 1024) "\07")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
