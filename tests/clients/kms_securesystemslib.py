"""securesystemslib's AWS signer: it digests locally, has the digest signed, and verifies over the message."""

import boto3
from securesystemslib.signer import AWSSigner, Signer

kms = boto3.client("kms")
for spec, usage in [("ECC_NIST_P256", "SIGN_VERIFY"), ("ECC_NIST_P384", "SIGN_VERIFY"), ("RSA_2048", "SIGN_VERIFY")]:
    key_id = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    uri, public = AWSSigner.import_(key_id)
    signature = Signer.from_priv_key_uri(uri, public).sign(b"data to be signed")
    public.verify_signature(signature, b"data to be signed")
    try:
        public.verify_signature(signature, b"other data")
        raise SystemExit(f"{spec}: the signature verifies over other data")
    except Exception as error:
        assert type(error).__name__ == "UnverifiedSignatureError", error
    print(spec)
