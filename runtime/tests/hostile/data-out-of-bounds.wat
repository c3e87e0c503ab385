;; expect: load: does not start: the plugin trapped
(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 131070) "abcdef")
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
