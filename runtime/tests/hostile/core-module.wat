;; expect: load: a core module where a component is due
(module (func (export "evaluate") (param i32) (result i32) (i32.const 0)))
