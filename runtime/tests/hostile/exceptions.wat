;; expect: load: not a valid component
(core module $rule
  (tag $t)
  (func (export "evaluate") (param i32) (result i32) (throw $t)))
