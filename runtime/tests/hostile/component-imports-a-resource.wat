;; expect: load: imports `handle`, which plugins do not have
(component (import "handle" (type (sub resource))))
