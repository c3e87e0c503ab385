;; expect: load: imports `signet:rule/log@1.3.0`
(component
  (import "signet:rule/log@1.3.0" (instance (export "flush" (func)))))
