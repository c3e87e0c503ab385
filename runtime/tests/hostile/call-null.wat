;; expect: trap
(core module $rule
  (table 4 funcref)
  (func (export "evaluate") (param i32) (result i32) (call_indirect (result i32) (i32.const 2))))
