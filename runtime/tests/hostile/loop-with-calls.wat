;; expect: timeout
(core module $rule
  (func $work (param i64) (result i64) (i64.mul (local.get 0) (i64.const 6364136223846793005)))
  (func (export "evaluate") (param i32) (result i32)
    (local $n i64)
    (loop $again (local.set $n (call $work (local.get $n))) (br $again))
    unreachable))
