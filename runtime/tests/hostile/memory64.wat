;; expect: load: not a valid component
(core module $rule
  (memory i64 1)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
