;; expect: load: contains 3 Wasm linear memories
;; Three memories, where two are allowed.
(component
  (core module $m (memory 1))
  (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m)))
