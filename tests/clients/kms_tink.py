"""Encrypts with tink: directly under a key of the key API, and by envelope under data keys that it makes itself.

usage: kms_tink.py; prints one line for each thing that was shown.
"""
import tink
from tink import aead
from tink.integration import awskms

from kms_common import done, kms

aead.register()
client = kms()
arn = client.create_key()["KeyMetadata"]["Arn"]
uri = f"aws-kms://{arn}"
remote = awskms.new_client(boto3_client=client, key_uri=uri).get_aead(uri)

sealed = remote.encrypt(b"a secret", b"of a test")
assert remote.decrypt(sealed, b"of a test") == b"a secret"
try:
    remote.decrypt(sealed, b"of another")
    raise SystemExit("opened with other associated data")
except tink.TinkError as error:
    assert "InvalidCiphertextException" in str(error), error
done("under the key")

envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote)
large = b"more than the key itself takes" * 1000
sealed = envelope.encrypt(large, b"of a test")
assert envelope.decrypt(sealed, b"of a test") == large
done("by envelope")
