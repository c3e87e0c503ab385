;; expect: load: imports `signet:rule/log@0.9.0`
(component
  (import "signet:rule/log@0.9.0" (instance (export "log" (func (param "message" string))))))
