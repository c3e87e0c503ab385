;; expect: load: imports `wasi:cli/environment@0.2.0`, which plugins do not have
(component
  (import "wasi:cli/environment@0.2.0" (instance
    (export "get-environment" (func (result (list (tuple string string))))))))
