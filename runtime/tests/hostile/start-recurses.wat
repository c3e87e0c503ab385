;; expect: load: does not start: the plugin trapped
(core module $rule
  (import "host" "memory" (memory 1))
  (func $start (call $start) (drop (memory.grow (i32.const 0))))
  (start $start)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
