;; expect: timeout
;; One instruction that takes milliseconds, again and again.
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (drop (memory.grow (i32.const 200)))
    (loop $again
      (memory.fill (i32.const 0) (i32.const 170) (i32.mul (memory.size) (i32.const 65536)))
      (br $again))
    unreachable))
