;; expect: timeout
;; The host's own call of the allocator is bounded too.
(core module $memory
  (memory (export "memory") 2)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (loop $again (br $again)) unreachable))
