;; expect: load: not a valid component
(core module $rule
  (func (export "evaluate") (param i64) (result i32) (i32.const 1024)))
