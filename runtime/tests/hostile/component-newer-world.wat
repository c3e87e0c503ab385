;; expect: load: imports `signet:rule/log@1.1.0`
(component
  (import "signet:rule/log@1.1.0" (instance (export "flush" (func)))))
