;; expect: trap
(core module $rule
  (func (export "evaluate") (param i32) (result i32) unreachable))
