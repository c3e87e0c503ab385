;; expect: load: not a valid component
;; A loop without a loop; not among the accepted features.
(core module $rule
  (func $evaluate (export "evaluate") (param i32) (result i32) (return_call $evaluate (local.get 0))))
