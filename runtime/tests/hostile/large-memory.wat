;; expect: load: does not start: the plugin ran out of memory
;; 32 MiB from the start, where 16 are allowed.
(core module $memory
  (memory (export "memory") 512)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
