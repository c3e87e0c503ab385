;; expect: load: imports `code`, which plugins do not have
(component (import "code" (core module (export "run" (func)))))
