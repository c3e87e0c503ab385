;; expect: load: not a valid component
(core module $rule
  (memory 1 1 shared)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
