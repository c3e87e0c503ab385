;; expect: timeout
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (loop $again (drop (memory.grow (i32.const 0))) (br $again))
    unreachable))
