;; expect: bad_output
;; Every allocation lies beyond memory.
(core module $memory
  (memory (export "memory") 2)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 0x7fff0000)))
