;; expect: load: imports `signet:rule/log@1.2.0`
(component
  (import "signet:rule/log@1.2.0" (instance (export "flush" (func)))))
