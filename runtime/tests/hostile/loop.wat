;; expect: timeout
(core module $rule
  (func (export "evaluate") (param i32) (result i32) (loop $again (br $again)) unreachable))
