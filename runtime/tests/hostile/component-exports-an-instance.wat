;; expect: load: does not implement the world `signet:rule/rule@1.0.0`
(component
  (instance $i)
  (export "evaluate" (instance $i)))
