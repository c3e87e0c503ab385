;; expect: bad_output
;; 5,000 claims that all name the same 60,000 bytes: 300 MB on the host, were they copied.
(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param i32) (result i32)
    (local $i i32) (local $at i32)
    (drop (memory.grow (i32.const 4)))
    (local.set $at (i32.const 131072))
    (loop $again
      (i32.store (local.get $at) (i32.const 0))
      (i32.store offset=4 (local.get $at) (i32.const 60000))
      (i32.store8 offset=8 (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 24)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 5000))))
    (i32.store (i32.const 1036) (i32.const 131072))
    (i32.store (i32.const 1040) (i32.const 5000))
    (i32.const 1024)))
