;; expect: load: imports `sign`, which plugins do not have
(component (import "sign" (func (param "bytes" (list u8)) (result (list u8)))))
