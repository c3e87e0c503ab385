;; expect: trap
(core module $rule
  (table funcref (elem $evaluate))
  (func $evaluate (export "evaluate") (param i32) (result i32) (call_indirect (result i32) (i32.const -1))))
