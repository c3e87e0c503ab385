;; expect: memory
;; Each allocation takes a megabyte more, and traps when there is none.
(core module $memory
  (memory (export "memory") 2)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then unreachable)) (i32.const 65536)))
