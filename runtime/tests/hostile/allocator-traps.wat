;; expect: trap
;; The host cannot even hand over the request.
(core module $memory
  (memory (export "memory") 2)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    unreachable))
