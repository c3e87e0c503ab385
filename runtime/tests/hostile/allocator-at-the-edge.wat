;; expect: bad_output
;; Every allocation is at the last eight bytes.
(core module $memory
  (memory (export "memory") 2)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 131064)))
