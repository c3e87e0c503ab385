;; expect: load: does not start: the plugin trapped
(core module $rule
  (table 1 funcref)
  (elem (i32.const 1) $evaluate)
  (func $evaluate (export "evaluate") (param i32) (result i32) (i32.const 1024)))
