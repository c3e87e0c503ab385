;; expect: trap
;; The stack, by way of the allocator.
(core module $memory
  (memory (export "memory") 2)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (call 0 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))
