;; expect: load: it exports no function `evaluate`
(component)
