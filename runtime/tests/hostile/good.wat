;; expect: allowed
;; The shortest honest rule: no cap, no claims. All zeros at 1024 say so.
(core module $rule
  (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))
