;; expect: load: does not implement the world `signet:rule/rule@1`
(component
  (instance $i)
  (export "evaluate" (instance $i)))
