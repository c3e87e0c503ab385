;; expect: load: not a valid component
;; 4 GiB from the start.
(core module $memory
  (memory (export "memory") 65536)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
