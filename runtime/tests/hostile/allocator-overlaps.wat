;; expect: allowed
;; Every allocation is the same: the rule reads a request that makes no sense, and nobody else does.
(core module $memory
  (memory (export "memory") 2)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 65536)))
