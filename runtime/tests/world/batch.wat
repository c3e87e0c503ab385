;; What a component of the world `rule-batch` exports besides `evaluate`: stands behind all else in ../hostile/world.wat.
  (func (export "evaluate-batch") (param "requests" (list $request)) (result (list (result $verdict (error $refusal))))
    (canon lift (core func $r "evaluate-batch") (memory $mem) (realloc (core func $m "realloc"))))
