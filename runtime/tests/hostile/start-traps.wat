;; expect: load: does not start: the plugin trapped
(core module $rule
  (func $start unreachable)
  (start $start)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
