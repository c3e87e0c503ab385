;; expect: load: not a valid component
(core module $rule
  (import "host" "exec" (func $exec (param i32 i32)))
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
