;; expect: load: contains 5 Wasm linear memories
;; Five memories, where four are allowed.
(component
  (core module $m (memory 1))
  (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m))
  (core instance (instantiate $m)) (core instance (instantiate $m)))
