;; expect: trap
(core module $rule
  (func $down (param $a i64) (param $b i64) (param $c i64) (param $d i64) (param $e i64) (param $f i64)
      (param $g i64) (param $h i64) (param $i i64) (param $j i64) (param $k i64) (param $l i64) (result i64)
    (i64.add (i64.mul (local.get $a) (i64.add (local.get $l) (local.get $k)))
      (call $down (local.get $b) (local.get $c) (local.get $d) (local.get $e) (local.get $f) (local.get $g)
        (local.get $h) (local.get $i) (local.get $j) (local.get $k) (local.get $l) (local.get $a))))
  (func (export "evaluate") (param i32) (result i32)
    (i32.wrap_i64 (call $down (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6)
      (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10) (i64.const 11) (i64.const 12)))))
