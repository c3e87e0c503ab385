;; expect: load: does not implement the world `signet:rule/rule@1`: `evaluate`
(component
  (core module $m (func (export "evaluate")))
  (core instance $i (instantiate $m))
  (func (export "evaluate") (canon lift (core func $i "evaluate"))))
