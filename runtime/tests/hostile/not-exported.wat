;; expect: load: not a valid component
(core module $rule
  (func (export "evaluate2") (param i32) (result i32) (i32.const 1024)))
