;; expect: load: exceeds the limit of 10000
(core module $rule
  (table 1000000 funcref)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
