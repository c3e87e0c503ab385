;; expect: load: exceeds the per-instance limit of 4
(core module $rule
  (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
