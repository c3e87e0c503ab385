;; expect: load: does not start: the plugin ran out of time
(core module $rule
  (func $start (loop $again (br $again)))
  (start $start)
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
