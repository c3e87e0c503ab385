;; expect: load: imports `wasi:filesystem/preopens@0.2.0`, which plugins do not have
;; Even one that asks for nothing of it.
(component
  (import "wasi:filesystem/preopens@0.2.0" (instance)))
