;; expect: allowed
;; One instruction that takes milliseconds, and an honest answer: it ends without having been interrupted.
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (drop (memory.grow (i32.const 250)))
    (memory.fill (i32.const 131072) (i32.const 170) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 131072)))
    (i32.const 1024)))
