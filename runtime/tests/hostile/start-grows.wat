;; expect: load: does not start: the plugin ran out of memory
(core module $rule
  (import "host" "memory" (memory 1))
  (func $start
    (loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable)
  (start $start)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
