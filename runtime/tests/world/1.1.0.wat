;; A component of the world `signet:rule@1.1.0` with every import of 1.1.0, around two core modules: $memory (memory and allocator) and $rule.
;; The tests put a hostile module in place of one of them; everything else here is well-behaved.
(component $world
  (import "signet:rule/types@1.1.0" (instance $types
    (type $value' (variant
      (case "text" string) (case "int" s64) (case "float" f64) (case "boolean" bool)
      (case "texts" (list string)) (case "json" string)))
    (export "value" (type $value (eq $value')))
    (type $caller' (record
      (field "id" string) (field "kind" string) (field "issuer" string) (field "subject" string)
      (field "attributes" (list (tuple string $value)))))
    (export "caller" (type $caller (eq $caller')))
    (type $token' (record
      (field "subject" (option string)) (field "audience" (list string)) (field "lifetime" u32)
      (field "claims" (list (tuple string $value)))))
    (export "token" (type $token (eq $token')))
    (type $artifact-form' (enum "digest" "message"))
    (export "artifact-form" (type $artifact-form (eq $artifact-form')))
    (type $artifact' (record
      (field "form" $artifact-form) (field "algorithm" string) (field "digest" (list u8))))
    (export "artifact" (type $artifact (eq $artifact')))
    (type $payload' (variant (case "token" $token) (case "artifact" $artifact)))
    (export "payload" (type $payload (eq $payload')))
    (type $protocol' (enum "http1" "http2" "http3"))
    (export "protocol" (type $protocol (eq $protocol')))
    (type $request' (record
      (field "profile" string) (field "key" string) (field "format" string) (field "tenant" string)
      (field "caller" $caller) (field "payload" $payload) (field "time" u64)
      (field "request-id" string) (field "trace-id" (option string))
      (field "source-address" string) (field "protocol" $protocol)))
    (export "request" (type $request (eq $request')))
    (type $verdict' (record
      (field "lifetime-cap" (option u32)) (field "claims" (list (tuple string $value)))))
    (export "verdict" (type $verdict (eq $verdict')))
    (type $refusal' (record (field "code" string) (field "message" string)))
    (export "refusal" (type $refusal (eq $refusal')))))
  (alias export $types "value" (type $value))
  (alias export $types "request" (type $request))
  (alias export $types "verdict" (type $verdict))
  (alias export $types "refusal" (type $refusal))

  (import "signet:rule/log@1.1.0" (instance $log
    (type $level' (enum "trace" "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level')))
    (export "log" (func (param "level" $level) (param "message" string)))))
  (import "signet:rule/config@1.1.0" (instance $config
    (alias outer $world $value (type $value'))
    (export "value" (type $value (eq $value')))
    (export "get" (func (param "name" string) (result (option $value))))))

  (import "signet:rule/digest@1.1.0" (instance $digest
    (export "sha256" (func (param "data" (list u8)) (result (list u8))))
    (export "sha384" (func (param "data" (list u8)) (result (list u8))))
    (export "sha512" (func (param "data" (list u8)) (result (list u8))))))
  (import "signet:rule/counter@1.1.0" (instance $counter
    (type $problem' (enum "full" "out-of-bounds"))
    (export "problem" (type $problem (eq $problem')))
    (export "increment" (func (param "key" string) (param "window-seconds" u32) (result (result u32 (error $problem)))))))
  (import "signet:rule/lookup@1.1.0" (instance $lookup
    (type $problem' (enum "no-such-table" "wrong-kind" "not-an-address"))
    (export "problem" (type $problem (eq $problem')))
    (export "get" (func (param "table" string) (param "key" string)
      (result (result (option string) (error $problem)))))
    (export "prefix" (func (param "table" string) (param "address" string)
      (result (result (option string) (error $problem)))))))

  {{memory}}
  {{rule}}

  (core instance $m (instantiate $memory))
  (alias core export $m "memory" (core memory $mem))
  (core func $log (canon lower (func $log "log") (memory $mem)))
  (core func $get (canon lower (func $config "get") (memory $mem) (realloc (core func $m "realloc"))))
  (core func $sha256 (canon lower (func $digest "sha256") (memory $mem) (realloc (core func $m "realloc"))))
  (core func $sha384 (canon lower (func $digest "sha384") (memory $mem) (realloc (core func $m "realloc"))))
  (core func $sha512 (canon lower (func $digest "sha512") (memory $mem) (realloc (core func $m "realloc"))))
  (core func $increment (canon lower (func $counter "increment") (memory $mem)))
  (core func $lookup-get (canon lower (func $lookup "get") (memory $mem) (realloc (core func $m "realloc"))))
  (core func $prefix (canon lower (func $lookup "prefix") (memory $mem) (realloc (core func $m "realloc"))))
  (core instance $host
    (export "sha256" (func $sha256))
    (export "sha384" (func $sha384))
    (export "sha512" (func $sha512))
    (export "increment" (func $increment))
    (export "lookup-get" (func $lookup-get))
    (export "prefix" (func $prefix))
    (export "memory" (memory $mem))
    (export "log" (func $log))
    (export "get" (func $get)))
  (core instance $r (instantiate $rule (with "host" (instance $host))))

  (func (export "evaluate") (param "request" $request) (result (result $verdict (error $refusal)))
    (canon lift (core func $r "evaluate") (memory $mem) (realloc (core func $m "realloc")))))
