;; expect: load: root-level component imports are not supported
(component (import "other" (component (export "run" (func)))))
