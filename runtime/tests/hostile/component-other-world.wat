;; expect: load: does not implement the world `signet:rule/rule@1`: `evaluate`
(component
  (core module $m (func (export "evaluate") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (func (export "evaluate") (param "request" u32) (result u32) (canon lift (core func $i "evaluate"))))
