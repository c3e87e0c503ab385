;; expect: trap
(core module $rule
  (type $f (func (param i32) (result i32)))
  (table funcref (elem $a $b))
  (func $a (type $f) (i32.xor (call_indirect (type $f) (local.get 0) (i32.const 1)) (i32.const 5)))
  (func $b (type $f) (i32.xor (call_indirect (type $f) (local.get 0) (i32.const 0)) (i32.const 7)))
  (func (export "evaluate") (param i32) (result i32) (call $a (local.get 0))))
