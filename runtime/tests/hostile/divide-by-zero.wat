;; expect: trap
(core module $rule
  (func (export "evaluate") (param i32) (result i32) (i32.div_u (local.get 0) (i32.const 0))))
