;; expect: memory
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable))
