;; expect: load: does not implement the world
(component
  (import "signet:rule/log@1.0.0" (instance (export "log" (func (param "message" string))))))
